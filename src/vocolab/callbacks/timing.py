"""Where the time of training goes."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


def number(value: float) -> Tensor:
    """A number to log in each update. Lightning would send a float to the device, for which it waits until the device
    has done all that it was told: there would be nothing to do for it while the next update is being prepared.
    """
    return torch.tensor(value, dtype=torch.float32)


class Timing(Callback):
    """Log `time/data_wait` (s an update spent waiting for its batch), `time/update` (s an update took) and
    `s_per_epoch`.

    The seconds spent in updates and waiting for them, validation left out, add up in the checkpoint as `seconds`.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._ended = self._started = 0.0
        self._epoch: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Also where a run resumes in the middle of an epoch, whose start Lightning does not announce again.
        self._ended, self._epoch = time.perf_counter(), None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._started = time.perf_counter()
        pl_module.log("time/data_wait", number(self._started - self._ended))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        pl_module.log("time/update", number(now - self._started))
        self.seconds += now - self._ended
        self._ended = now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = time.perf_counter()  # validation is not waiting for data

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._epoch is not None:  # else only a part of it was seen
            pl_module.log("s_per_epoch", time.perf_counter() - self._epoch, sync_dist=True)
