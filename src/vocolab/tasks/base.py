"""What the training of every model shares: rates and random numbers that depend on the update alone, and the card in
each checkpoint.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule

from vocolab.files import local_path
from vocolab.parts import modules_of
from vocolab.rng import mix
from vocolab.tasks.schedules import Constant, Rates, Schedule, Scheduler, check_schedule


class Task(LightningModule):
    """A LightningModule whose checkpoint tells what inference needs, and whose steps repeat exactly after a resume."""

    def __init__(self, schedule: Schedule | Scheduler | None = None):
        super().__init__()
        self.schedule = check_schedule(schedule or Constant())
        self._rates: list[Rates] = []  # one an optimizer

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Hz of the speech it makes."""

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """What `convert` or `synthesize` needs to know beside the weights: plain values only, as the file loads with
        `weights_only=True`.
        """

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        card = self.card()
        checkpoint["vocolab"] = {"format": 1, **card, "imports": modules_of(card)}
        _to_whole_update(checkpoint, self.trainer.accumulate_grad_batches)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set what this batch uses from its place alone: Lightning's checkpoints hold no state of the random
        generators. The batches that are accumulated into one update share its number, but not their random numbers.
        """
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        micro = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(mix(seed, self.global_step, micro, self.global_rank))
        if [rates.optimizer for rates in self._rates] != self.trainer.optimizers:
            updates = self.trainer.max_steps
            self._rates = [Rates(self.schedule, optimizer, updates) for optimizer in self.trainer.optimizers]
        for rates in self._rates:
            rates.set(self.global_step)


def _to_whole_update(checkpoint: dict[str, Any], accumulate: int) -> None:
    """Let a run that is stopped between the batches of an update resume at the update's first: their gradients are in
    no checkpoint.
    """
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress")
    if progress is None or progress["is_last_batch"]:
        return  # the last batch of an epoch completes an update, however few there were
    pending = progress["current"]["ready"] % accumulate
    for counts in (progress["current"], progress["total"]):
        for name in counts:
            counts[name] -= pending


def located(description: Any) -> Any:
    """A part's description whose weights (`checkpoint`, `decoder`), its own or those of a part within, are found from
    any working directory; hub names stay as they are.
    """
    if isinstance(description, list):
        return [located(item) for item in description]
    if not isinstance(description, dict):
        return description
    found = {key: located(value) for key, value in description.items()}
    for key in ("checkpoint", "decoder"):
        path = found.get(key)
        if isinstance(path, str) and local_path(path).exists():
            found[key] = str(local_path(path).resolve())
    return found
