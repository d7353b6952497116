"""A training's state in the official layout, for the programs of HiFi-GAN and kNN-VC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vocolab.checkpoints import check_official, write_training
from vocolab.errors import UsageError


class OfficialFiles(Callback):
    """Write `g_%08d.pt` and `do_%08d.pt` into RUN/checkpoints when training ends, and every `every_n_train_steps`
    updates if that is given; none is removed.

    For a `VocoderTask` with a `HiFiGAN` and HiFi-GAN's discriminators; without discriminators `g_` alone is written.
    The weights are those being trained, also where an EMA averages them: `vocolab export` writes the average.
    `continue_from` goes on from the files, and so does the official program.
    """

    def __init__(self, every_n_train_steps: int | None = None):
        if every_n_train_steps is not None and every_n_train_steps < 1:
            what = f"every_n_train_steps is {every_n_train_steps}"
            raise UsageError(what, "OfficialFiles", "give a number of updates above 0")
        self.every_n_train_steps = every_n_train_steps
        self._written = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            if not hasattr(pl_module, "vocoder"):
                raise UsageError(f"{type(pl_module).__name__} trains no vocoder", "OfficialFiles", "leave it out")
            check_official(*_parts(pl_module), "OfficialFiles")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.every_n_train_steps is not None and trainer.global_step % self.every_n_train_steps == 0:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._written:
            self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._written = trainer.global_step
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir) / "checkpoints"
            epoch = trainer.fit_loop.epoch_progress.current.ready - 1  # `current_epoch` is one more when training ends
            write_training(folder, *_parts(pl_module), trainer.optimizers, trainer.global_step, epoch)


def _parts(module: Any) -> tuple[Any, Any]:
    return module.vocoder, module.discriminator
