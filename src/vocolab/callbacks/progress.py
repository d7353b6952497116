"""Progress in updates, which is what runs are measured in."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

BAR = 0.5  # seconds between two readings of the bar's metrics: a device is waited for at each
LOSS = "train/loss"  # shown though it is not logged with `prog_bar`: that would have Lightning read it in every update


class Progress(ProgressBar):
    """One bar over all updates of the run, with the time left and the metrics logged for the progress bar, on standard
    error.

    Where standard error is no terminal, a plain line every `every` seconds. Lightning's own bars count the batches of
    an epoch, and know no end where a run is given in updates.
    """

    def __init__(self, every: float = 30.0):
        super().__init__()
        self.every = every
        self._enabled = True
        self._bar: Any = None
        self._last_line = self._began = 0.0
        self._first = 0

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False  # Lightning does so on all ranks but the first

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.console.print(*args)
        elif self._enabled:
            print(*args, file=sys.stderr)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began, self._first = time.monotonic(), trainer.global_step
        if self._enabled and sys.stderr.isatty():
            self._bar = _rich_bar()
            self._bar.add_task("updates", total=_total(trainer), completed=trainer.global_step, metrics="")
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *_)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step)
            if time.monotonic() - self._last_line >= BAR:
                self._last_line = time.monotonic()
                self._show(trainer, pl_module)
        elif self._enabled and time.monotonic() - self._last_line >= self.every:
            self._say(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bar is None and self._enabled and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._say(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bar is not None:
            self._show(trainer, pl_module)
        self._stop()
        if self._enabled and not sys.stderr.isatty():
            self._say(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _show(self, trainer: Trainer, module: LightningModule) -> None:
        self._bar.update(self._bar.task_ids[0], metrics=self._metrics(trainer, module))

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, trainer: Trainer, module: LightningModule) -> None:
        self._last_line = time.monotonic()
        done, total = trainer.global_step, _total(trainer)
        left = ""
        if total and done > self._first:
            seconds = (self._last_line - self._began) / (done - self._first) * (total - done)
            left = f", {int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{int(seconds % 60):02d} left"
        print(f"update {done}/{total or '∞'}{left}  {self._metrics(trainer, module)}", file=sys.stderr, flush=True)

    def _metrics(self, trainer: Trainer, module: LightningModule) -> str:
        found = self.get_metrics(trainer, module)
        if LOSS in trainer.callback_metrics:
            found = {LOSS: float(trainer.callback_metrics[LOSS])} | found
        return "  ".join(f"{k} {v:.4g}" for k, v in found.items() if isinstance(v, (int, float)))


def _total(trainer: Trainer) -> int | None:
    """Updates at which the run ends, if it is known."""
    if trainer.max_steps > 0:
        return trainer.max_steps
    batches = trainer.estimated_stepping_batches
    return int(batches) if batches != float("inf") else None


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
    )
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
