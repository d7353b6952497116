"""What makes a run's folder explain itself: a README, a picture of the curves, and the data in the loggers."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import inspect
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from vocolab.callbacks.curves import draw_curves
from vocolab.callbacks.meanings import meaning
from vocolab.callbacks.timing import Timing
from vocolab.data.shards.manifest import versions
from vocolab.data.statistics import Statistics, statistics
from vocolab.files import atomic

MARK = "<!-- written by vocolab fit, and written over by it -->"
ALWAYS = ("config.yaml", "metrics.csv", "checkpoints")  # there in the end, if not yet
FILES = {
    "config.yaml": "the whole recipe; `vocolab fit -c config.yaml` repeats the run",
    "metrics.csv": "what was logged, a row each time; a column a metric",
    "curves.png": "a picture of it, drawn when the run ends",
    "checkpoints": "`last.ckpt`, the end of the run; `best.ckpt`, the best validation; `step=…`, the newest of a trail",
    "samples": "speech and pictures from each validation",
    "tensorboard": "the same for `tensorboard --logdir .`",
    "wandb": "the same for Weights & Biases",
    "report.json": "figures of the trained model, by `vocolab report`; `report.png` shows them, the `.wav` files speak",
}


class Summary(Callback):
    """Write RUN/README.md when training begins, at each validation and when it ends, and RUN/curves.png at the end.
    When training begins, tell TensorBoard and W&B of the data: durations, speakers, skipped files.

    A recipe's trainer has it wherever it has loggers.
    """

    def __init__(self, command: Sequence[str] = ()):
        """`command`: the arguments of `vocolab` that began this training."""
        super().__init__()
        self.command = list(command)
        self._data: Statistics | None = None
        self._began = ""
        self._results: dict[str, tuple[int, float]] = {}  # by metric: the update, and the value

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._data = statistics(trainer.datamodule.folder())  # type: ignore[attr-defined]  # Lightning sets it undeclared
        self._began = f"{_now()} from update {trainer.global_step}"
        if not trainer.ckpt_path:  # a resumed run has told them
            for logger in trainer.loggers:
                log_data(logger, self._data)
        self._write(trainer, pl_module, "under way")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.is_global_zero:
            found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            self._results |= {name: (trainer.global_step, value) for name, value in found.items()}
            self._write(trainer, pl_module, "under way")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            whole = trainer.max_steps < 0 or trainer.global_step >= trainer.max_steps
            draw_curves(_folder(trainer))
            self._write(trainer, pl_module, "finished" if whole else "stopped")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.is_global_zero and self._began:
            name = str(exception).strip().partition("\n")[0] or type(exception).__name__
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self._write(trainer, pl_module, f"stopped ({name})")

    def _write(self, trainer: Trainer, module: LightningModule, state: str) -> None:
        folder, done = _folder(trainer), trainer.global_step
        if not _is_ours(folder / "README.md"):
            return
        of = f" of {trainer.max_steps:,}" if trainer.max_steps > 0 else ""
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        parts = [f"`{type(part).__name__}`" for part in module.children() if next(part.parameters(), None) is not None]
        what = f"`{type(module).__name__}` with {', '.join(parts)}; {trained:,} trained parameters."
        state_now = f"{state[:1].upper()}{state[1:]}: {done:,}{of} updates{_training_time(trainer)}, {_now()}."
        does = inspect.cleandoc(type(module).__doc__ or "")
        lines = [MARK, "", f"# {folder.resolve().name}", "", f"A run of vocolab: {what}", ""]
        lines += [" ".join(does.split("\n\n")[0].split()), "", state_now, ""]
        if state != "finished":
            lines += ["If no process is at work, go on with `vocolab fit -c config.yaml --ckpt_path last`.", ""]
        lines += [*self._measured(), *self._about_data(trainer), "## Files", "", "| file | what |", "|---|---|"]
        for name, what in FILES.items():
            if name in ALWAYS or (folder / name).exists():
                lines += [f"| `{name}` | {what} |", *(_samples(trainer) if name == "samples" else [])]
        lines += ["", *_use(module), "", *self._about_machine(trainer)]
        with atomic(folder / "README.md") as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _measured(self) -> list[str]:
        if not self._results:
            return []
        rows = [
            f"| `{name}` | {value:.4g} | {step:,} | {meaning(name)} |"
            for name, (step, value) in sorted(self._results.items())
        ]
        return ["## Last validation", "", "| metric | value | update | what it is |", "|---|---|---|---|", *rows, ""]

    def _about_data(self, trainer: Trainer) -> list[str]:
        assert self._data is not None
        where = f"Shards: `{trainer.datamodule.folder()}`"  # type: ignore[attr-defined]
        return ["## Data", "", *_markdown(self._data.table()), "", where, *self._data.skipped_lines(), ""]

    def _about_machine(self, trainer: Trainer) -> list[str]:
        device = trainer.strategy.root_device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type
        found = versions() | {"lightning": importlib.metadata.version("lightning")}
        lines = ["## Environment", "", f"- begun: {self._began}"]
        if self.command:
            lines.append(f"- command: `{shlex.join(['vocolab', *self.command])}`")
        lines.append(f"- {trainer.world_size} × {name}, precision {trainer.precision}, {platform.platform()}")
        return [*lines, "- " + ", ".join(f"{package} {version}" for package, version in found.items())]


def log_data(logger: Any, data: Statistics) -> None:
    """Tell a logger of the data, if it is one that shows tables and histograms."""
    skipped = data.skipped_lines()
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text("data", "\n".join([*_markdown(data.table()), "", *skipped]))
        for name, split in data.splits.items():
            logger.experiment.add_histogram(f"data/{name}_seconds", split.seconds)
            logger.experiment.add_histogram(f"data/{name}_minutes_a_speaker", split.speakers / 60)
    elif isinstance(logger, WandbLogger):
        import wandb

        header, *rows = data.table()
        logger.log_table("data/splits", columns=header, data=rows)
        if skipped:
            logger.log_table("data/skipped", columns=["files"], data=[[line] for line in skipped])
        histograms = {}
        for name, split in data.splits.items():
            histograms[f"data/{name}_seconds"] = wandb.Histogram(split.seconds.tolist())
            histograms[f"data/{name}_minutes_a_speaker"] = wandb.Histogram((split.speakers / 60).tolist())
        logger.experiment.log(histograms)


def _use(module: LightningModule) -> list[str]:
    """The commands for the trained model."""
    command = 'synthesize "A text."' if hasattr(module, "lm") else "convert SOURCE.wav"
    lines = [f"vocolab {command} --ref VOICE.wav --checkpoint checkpoints/last.ckpt -o out.wav", "vocolab report ."]
    return ["## Use", "", "In this folder:", "", "```sh", *lines, "```"]


def _samples(trainer: Trainer) -> list[str]:
    """What the files of `samples` are, as the callbacks that write them say."""
    return [row for callback in _callbacks(trainer) for row in _rows_of(getattr(callback, "FILES", {}))]


def _rows_of(files: Mapping[str, str]) -> list[str]:
    return [f"| `samples/step=…/{name}` | {what} |" for name, what in files.items()]


def _callbacks(trainer: Trainer) -> list[Callback]:
    return trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it undeclared


def _training_time(trainer: Trainer) -> str:
    """How long the updates took, where `Timing` knows it."""
    seconds = sum((callback.seconds for callback in _callbacks(trainer) if isinstance(callback, Timing)), 0.0)
    return f" in {seconds / 60:,.1f} minutes (validations left out)" if seconds else ""


def _is_ours(path: Path) -> bool:
    """Whether a README may be written over: a run may be told to lie in a folder that has one of its own."""
    return not path.exists() or path.read_text(encoding="utf-8", errors="replace").startswith(MARK)


def _markdown(table: list[list[str]]) -> list[str]:
    header, *rows = (f"| {' | '.join(row)} |" for row in table)
    return [header, "|" + "---|" * len(table[0]), *rows]


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir)


def _now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
