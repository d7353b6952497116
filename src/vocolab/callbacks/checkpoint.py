"""Checkpoints of a run: the last step however it ends, the best by validation, and a trail at fixed intervals."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, callbacks
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from vocolab.errors import UsageError
from vocolab.files import cannot_write


class Checkpoint(callbacks.Checkpoint):
    """Write `last.ckpt`, `best.ckpt` and `step=%08d.ckpt` into RUN/checkpoints.

    `last.ckpt` is written every `every_n_train_steps` updates, at the end, and when the run is stopped by `max_time`,
    Ctrl-C or SIGTERM: the signals wait for the update under way, so the file is always a whole step. An error between
    updates (a validation's, a callback's) writes it too; an error within an update leaves the file of the last
    interval. Lightning's own callback skips the last step once any checkpoint was saved, and knows no fixed names.
    """

    def __init__(
        self,
        every_n_train_steps: int = 5000,
        keep: int = 3,
        monitor: str | None = "val/mel_l1",
        mode: str = "min",
    ):
        """`keep`: how many of the newest `step=…` files stay (0 none, -1 all). `monitor`: what `best.ckpt` is chosen
        by; None: no best.
        """
        super().__init__()
        if every_n_train_steps < 1:
            raise UsageError(
                f"every_n_train_steps is {every_n_train_steps}", "checkpoint", "give a number of updates above 0"
            )
        if mode not in ("min", "max"):
            raise UsageError(f"mode is {mode!r}", "checkpoint", "give min or max")
        self.every_n_train_steps, self.keep, self.monitor, self.mode = every_n_train_steps, keep, monitor, mode
        self.best: float | None = None
        self._saved_step = -1
        self._whole = True  # no update is under way
        self._signal = 0
        self._handlers: dict[int, Any] = {}

    def folder(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / "checkpoints"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let `max_time` count from each start, as the time limit of a queue does: Lightning's Timer would go on from
        the time of the runs before, and end a resumed run in its first update.
        """
        states: dict[str, Any] = checkpoint.get("callbacks", {})
        checkpoint["callbacks"] = {name: state for name, state in states.items() if not name.startswith("Timer")}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step, self._whole, self._signal = trainer.global_step, True, 0
        if threading.current_thread() is not threading.main_thread():
            return  # a notebook's worker thread cannot install handlers

        def stop(signum: int, _: Any) -> None:
            if self._signal and signum == signal.SIGINT:
                raise KeyboardInterrupt  # a second Ctrl-C
            self._signal = signum
            if trainer.world_size == 1:
                trainer._signal_connector.received_sigterm = True  # with this flag Lightning ends the loop

        self._handlers = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._whole = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._whole = True
        self._share_signal(trainer)
        if trainer.global_step % self.every_n_train_steps == 0 and trainer.global_step != self._saved_step:
            self._save_interval(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._share_signal(trainer)
        measured = trainer.callback_metrics.get(self.monitor) if self.monitor else None
        if measured is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        score = float(measured)
        if self.best is None or (score < self.best if self.mode == "min" else score > self.best):
            self.best = score
            self._save(trainer, "best")
        if self._saved_step == trainer.global_step:
            # last.ckpt was written before this validation. Written again, it tells a resumed run the best score so far.
            self._save_interval(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._saved_step:
            self._save_last(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException):
            self.on_train_end(trainer, pl_module)
            exception.code = 128 + (self._signal or signal.SIGTERM)
        elif self._whole and self._saved_step >= 0 and trainer.world_size == 1:  # saving needs all ranks
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self.on_train_end(trainer, pl_module)

    def _share_signal(self, trainer: Trainer) -> None:
        """End the loop on every rank at this batch where any of them has received a signal.

        A rank that left by itself would save the checkpoint while the others begin the next update, and all would wait
        for each other for ever. (Lightning's own handler broadcasts from within, which several signalled ranks do not
        survive either.)
        """
        if trainer.world_size > 1 and distributed.is_available() and distributed.is_initialized():
            signum = torch.tensor([self._signal], device=trainer.strategy.root_device)
            distributed.all_reduce(signum, distributed.ReduceOp.MAX)
            self._signal = int(signum)
        if self._signal:
            trainer._signal_connector.received_sigterm = True

    def _save_interval(self, trainer: Trainer) -> None:
        self._save_last(trainer)
        if self.keep and trainer.is_global_zero and trainer.global_step % self.every_n_train_steps == 0:
            self._keep_step(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        self._save(trainer, "last")
        self._saved_step = trainer.global_step

    def _save(self, trainer: Trainer, name: str) -> None:
        """All ranks call this; rank 0 renames the finished file."""
        with _written(self.folder(trainer) / f"{name}.ckpt", rank_zero=trainer.is_global_zero) as temporary:
            trainer.save_checkpoint(temporary, weights_only=False)

    def _keep_step(self, trainer: Trainer) -> None:
        folder = self.folder(trainer)
        with _written(folder / f"step={trainer.global_step:08d}.ckpt") as temporary:
            _link(folder / "last.ckpt", temporary)
        if self.keep > 0:
            for old in sorted(folder.glob("step=*.ckpt"))[: -self.keep]:
                _remove(old)


@contextlib.contextmanager
def _written(path: Path, rank_zero: bool = True) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder; rank 0 renames it to `path` when the block ends.

    Raises `VocolabError` where the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        if rank_zero:  # left by a killed save; no other rank writes before it has heard from rank 0
            _remove(temporary)
        yield temporary
        if rank_zero:
            _replace(temporary, path)
    except Exception as error:
        _remove(temporary)
        if line := cannot_write(error, path, "free space, then go on with --ckpt_path last"):
            raise line from error
        raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename, also where DeepSpeed has written a folder, which cannot be renamed over another."""
    if path.is_dir():
        old = path.with_name(f".{path.name}.old")
        _remove(old)
        path.rename(old)
        temporary.rename(path)
        _remove(old)
    else:
        os.replace(temporary, path)


def _link(path: Path, target: Path) -> None:
    """Make `target` a hard link to `path`, or a copy where the disk knows no links; for a folder, file by file."""

    def link(source: str | Path, name: str | Path) -> None:
        try:
            os.link(source, name)
        except OSError:
            shutil.copyfile(source, name)

    if path.is_dir():
        shutil.copytree(path, target, copy_function=link)
    else:
        link(path, target)


def _remove(path: Path) -> None:
    if path.is_dir():  # DeepSpeed writes a folder
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
