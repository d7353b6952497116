"""What the training of every model shares: learning rates and random numbers that depend on the update alone, and the
card in each checkpoint.
"""

from __future__ import annotations

import logging
import math
import os
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.optim import Optimizer

from vocolab.data.batches import SpeechBatch
from vocolab.data.module import SpeechDataModule
from vocolab.errors import UsageError
from vocolab.files import local_path
from vocolab.parts import modules_of
from vocolab.rng import mix
from vocolab.tasks.schedules import SCHEDULED, Constant, Rates, Schedule, Scheduler, check_schedule

REMEDIES = {  # what makes batches hold a field that they lack
    "audio": "set data.batches.init_args.audio to true",
    "feats": "set --data.encoder",
    "codes": "set --data.codec",
    "text": "set --data.text",
    "prompts": "use TokenBudget",
}

log = logging.getLogger(__name__)


@dataclass
class Spoken:
    """What a task makes of a sample."""

    wav: Tensor  # (T,)
    stopped: bool | None = None  # whether a language model stopped by itself


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

    @property
    def data(self) -> SpeechDataModule:
        """The data module of the run."""
        return self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it without declaring it

    @abstractmethod
    def speak(self, batch: SpeechBatch, seeds: Tensor, most: float = math.inf) -> list[Spoken]:
        """The speech of each sample of an evaluation's batch. `seeds` (B,): of what is drawn for each of them. `most`:
        how many times the longest true length a response may last, where the length is not known.

        Raises `VocolabError` where the model has nothing to speak with.
        """

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """What `convert` or `synthesize` needs to know beside the weights: plain values only, as the file loads with
        `weights_only=True`.
        """

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        card = self.card()
        checkpoint["vocolab"] = {"format": 1, **card, "imports": modules_of(card)}
        _to_whole_update(checkpoint, self.trainer.accumulate_grad_batches)

    def on_train_start(self) -> None:
        if self.trainer.ckpt_path:
            self.follow_recipe()

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shorten the gradients. In mixed precision Lightning refuses it for every fused optimizer; only float16, whose
        gradients are scaled until the optimizer's step, forbids it. Raises `UsageError` there.
        """
        precision = self.trainer.precision_plugin
        if not isinstance(precision, MixedPrecision) or not getattr(optimizer, "_step_supports_amp_scaling", False):
            super().clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        most = self.trainer.gradient_clip_val if gradient_clip_val is None else gradient_clip_val
        if not most:
            return
        if precision.scaler is not None:
            what = "a fused optimizer's gradients cannot be clipped in 16-mixed"
            raise UsageError(what, "model.optimizer", "set fused to false, or --trainer.precision to bf16-mixed")
        algorithm = gradient_clip_algorithm or self.trainer.gradient_clip_algorithm or "norm"
        Precision.clip_gradients(precision, optimizer, most, GradClipAlgorithmType(algorithm))

    def follow_recipe(self) -> None:
        """Replace the optimizer arguments that were read from a file by those of the recipe, and say so."""
        made: Any = self.configure_optimizers()
        all_made = made if isinstance(made, (list, tuple)) else [made]
        kept = self.trainer.strategy.handles_gradient_accumulation  # DeepSpeed has copied the arguments
        changes: list[str] = []
        for restored, fresh in zip(self.trainer.optimizers, all_made, strict=True):
            changes += follow(restored, fresh, apply=not kept)
        if not isinstance(self.schedule, Schedule):  # a scheduler of PyTorch may have set these in the checkpoint
            changes = [change for change in changes if change.split()[0] not in {*SCHEDULED} - {"lr"}]
        if changes and self.global_rank == 0:
            how = "left as the checkpoint has it, by DeepSpeed" if kept else f"from update {self.global_step} on"
            log.warning(f"optimizer: {', '.join(dict.fromkeys(changes))} ({how})")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the random numbers and set the learning rates of this batch from its place alone, since Lightning's
        checkpoints hold no state of the random generators. Each batch of an accumulated update, and each rank, draws
        numbers of its own.
        """
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        micro = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(mix(seed, self.global_step, micro, self.global_rank))
        if [rates.optimizer for rates in self._rates] != self.trainer.optimizers:
            updates = self.trainer.max_steps
            self._rates = [Rates(self.schedule, optimizer, updates) for optimizer in self.trainer.optimizers]
        for rates in self._rates:
            rates.set(self.global_step)


def follow(restored: Optimizer, fresh: Optimizer, apply: bool = True) -> list[str]:
    """Where the arguments of `restored`, read from a checkpoint, differ from those of `fresh`, made by the recipe:
    `["lr 0.0002 -> 0.0001"]`. `apply`: give `restored` those of `fresh`; its moments stay.
    """
    changes = []
    for old, new in zip(restored.param_groups, fresh.param_groups, strict=True):
        for name in new.keys() - {"params", "initial_lr"}:
            place = "initial_lr" if name == "lr" and "initial_lr" in old else name  # the schedule multiplies that one
            before, after = (tuple(v) if isinstance(v, list) else v for v in (old.get(place, new[name]), new[name]))
            if before != after:
                changes.append(f"{name} {before} -> {after}")
            if apply:
                old[place] = new[name]
    return sorted(set(changes))


def _to_whole_update(checkpoint: dict[str, Any], accumulate: int) -> None:
    """Make a run that stopped between the batches of an update resume at the first of them: a checkpoint holds no
    gradients, so what the others had added to them is lost.
    """
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress")
    if progress is None or progress["is_last_batch"]:
        return  # the last batch of an epoch completes an update, however few there were
    pending = progress["current"]["ready"] % accumulate
    for counts in (progress["current"], progress["total"]):
        for name in counts:
            counts[name] -= pending


def field(batch: SpeechBatch, name: str) -> Tensor:
    """A field of the batch. Raises `UsageError` where the data hold no such thing."""
    value: Tensor | None = getattr(batch, name)
    if value is None:
        raise UsageError(f"batches without {name}", "data", REMEDIES.get(name, "prepare the data anew"))
    return value


def located(description: Any) -> Any:
    """A part's description with the paths of weights (`checkpoint`, `decoder`), its own and those of parts within, made
    absolute. What is no path, as a hub's name, stays as it is.
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
