"""Exponential moving average of the weights of one part of a task, by default of the vocoder."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vocolab.errors import UsageError


class EMA(Callback):
    """Average the parameters whose names begin with `prefix`; validate with the average, and store it as the
    checkpoint's weights.

    The weight of the newest value is 1 − min(decay, (1 + n) / (10 + n)) at update n, so that the beginning is
    forgotten. The weights being trained wait in the checkpoint under `ema_trained`, so a resumed run goes on exactly.
    Lightning's `WeightAveraging` averages the whole module: it would double the discriminator and validate with it.
    """

    def __init__(self, decay: float = 0.999, prefix: str = "vocoder."):
        if not 0 <= decay < 1:
            raise UsageError(f"decay is {decay}", "EMA", "give a number from 0 up to 1")
        self.decay, self.prefix = decay, prefix
        self.average: dict[str, Tensor] = {}
        self._swapped = False
        self._updates = 0  # the updates that are in the average

    def _trained(self, module: LightningModule) -> dict[str, Tensor]:
        return {name: p.data for name, p in module.named_parameters() if name.startswith(self.prefix)}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.strategy.handles_gradient_accumulation:  # DeepSpeed, whose checkpoints hold no weights to exchange
            remedy = "leave it out, or take configs/trainer/ddp.yaml"
            raise UsageError("DeepSpeed keeps the weights to itself", "EMA", remedy)
        trained = self._trained(pl_module)
        if not trained:
            raise UsageError(
                "no such parameters", f"EMA.prefix {self.prefix!r}", "give the name of a part, as vocoder."
            )
        restored = self.average
        self.average = {name: restored.get(name, value).clone().to(value.device) for name, value in trained.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._updates = trainer.global_step  # a resumed run knows it only now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._updates:
            return  # one of the batches that are accumulated into an update
        n = self._updates = trainer.global_step
        weight = 1 - min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(self.average.values()), list(self._trained(pl_module).values()), weight)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module, swapped=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module, swapped=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._swap(pl_module, swapped=False)

    def _swap(self, module: LightningModule, swapped: bool) -> None:
        if not self.average or self._swapped == swapped:
            return
        self._swapped = swapped
        for name, value in self._trained(module).items():
            held = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(held)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self.average or self._swapped:
            return
        state = checkpoint["state_dict"]
        checkpoint["ema_trained"] = {name: state[name] for name in self.average}
        checkpoint["state_dict"] = {**state, **self.average}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        trained = checkpoint.get("ema_trained")
        if trained is not None:
            self.average = {name: checkpoint["state_dict"][name] for name in trained}
            pl_module.load_state_dict(trained, strict=False)
