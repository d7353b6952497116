"""Learning-rate schedules: functions of the update number, so that a resumed run goes on where it was. Besides those
here, any scheduler of PyTorch that needs no metric is one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from vocolab.errors import UsageError

Scheduler = Callable[[Optimizer], LRScheduler]  # of PyTorch, still without its optimizer
SCHEDULED = ("lr", "momentum", "betas")  # what PyTorch's schedulers set


class Schedule(ABC):
    """Factor on the base learning rate at an update counted from 0. It knows neither the clock nor the trainer."""

    @abstractmethod
    def __call__(self, step: int) -> float: ...


class Constant(Schedule):
    """The base learning rate throughout."""

    def __call__(self, step: int) -> float:
        return 1.0


class StepDecay(Schedule):
    """gamma^(step // every). HiFi-GAN (Kong et al. 2020, §3.1) multiplies by .999 an epoch; give the updates of that
    epoch as `every`.
    """

    def __init__(self, gamma: float = 0.999, every: int = 1784):
        self.gamma, self.every = gamma, every

    def __call__(self, step: int) -> float:
        return self.gamma ** (step // self.every)


class WarmupCosine(Schedule):
    """Linear warm-up over `warmup` updates, then half a cosine down to `floor` at update `total`, and `floor` from
    there on.
    """

    def __init__(self, total: int, warmup: int = 0, floor: float = 0.0):
        self.total, self.warmup, self.floor = total, warmup, floor

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = min((step - self.warmup) / max(self.total - self.warmup, 1), 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


class InverseSquareRoot(Schedule):
    """Linear warm-up over `warmup` updates, then 1/sqrt(update), scaled to reach 1 at the end of the warm-up, where
    the rate is the base rate (Vaswani et al. 2017, §5.3, up to that scale).
    """

    def __init__(self, warmup: int = 4000):
        self.warmup = warmup

    def __call__(self, step: int) -> float:
        warmup = max(self.warmup, 1)
        return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


class Rates:
    """What a schedule sets in the groups of one optimizer, as a function of the update alone.

    A `Schedule` multiplies the learning rate. A scheduler of PyTorch works on a stand-in for the optimizer and is
    stepped once an update. In a resumed run it is stepped again from the first update on: so the run goes on where it
    was, with the schedule that its recipe names now, and the checkpoint holds nothing of it. It may also set other
    values of the groups, such as momentum.
    """

    def __init__(self, schedule: Schedule | Scheduler, optimizer: Optimizer, updates: int = -1):
        """`updates`: of the whole run, -1 where it has no end. Raises `UsageError` where the schedule ends sooner."""
        self.schedule, self.optimizer = schedule, optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._stand_in = None if isinstance(schedule, Schedule) else self._begin(schedule)
        scheduler = getattr(self._stand_in, "scheduler", None)
        total = getattr(scheduler, "total_steps", None)
        if total is not None and updates > total:
            what = f"{type(scheduler).__name__} ends after {total} updates, the run has {updates}"
            raise UsageError(what, "model.schedule", "give it as many total_steps as --trainer.max_steps")

    def set(self, update: int) -> None:
        """Give the optimizer the values of an update, counted from 0."""
        if isinstance(self.schedule, Schedule):
            factor = self.schedule(update)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            return
        if self._stand_in is None or self._stand_in.updates > update:
            self._stand_in = self._begin(self.schedule)
        self._stand_in.advance(update)
        for group, values in zip(self.optimizer.param_groups, self._stand_in.param_groups, strict=True):
            group.update({key: values[key] for key in SCHEDULED if key in group})

    def _begin(self, scheduler: Scheduler) -> StandIn:
        return StandIn(scheduler, self.optimizer.param_groups, self.optimizer.defaults)


class StandIn(Optimizer):
    """The groups of an optimizer as they were before the first update, without its parameters, under a scheduler."""

    def __init__(self, make: Scheduler, groups: Sequence[Mapping[str, Any]], defaults: dict[str, Any]):
        copies = [dict(group, params=[nn.Parameter(torch.empty(0))]) for group in groups]
        for group in copies:
            group["lr"] = group.pop("initial_lr", group["lr"])
        super().__init__(copies, defaults)
        self.updates = 0
        self.scheduler = make(self)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            remedy = "name another one: a schedule here is a function of the update"
            raise UsageError("ReduceLROnPlateau waits for a metric to stop falling", "model.schedule", remedy)

    def advance(self, update: int) -> None:
        """Step the scheduler up to an update."""
        while self.updates < update:
            self.step()
            self.scheduler.step()
            self.updates += 1

    def step(self, closure: Any = None) -> Any:
        """Does nothing. A scheduler warns unless its optimizer has stepped before it."""


def check_schedule(schedule: Schedule | Scheduler) -> Schedule | Scheduler:
    """`schedule` unchanged. Raises `UsageError` for arguments that a scheduler refuses, before anything is prepared."""
    if not isinstance(schedule, Schedule):
        values = {"lr": 1.0, "momentum": 0.9, "betas": (0.9, 0.999)}
        try:
            StandIn(schedule, [values], values)
        except (TypeError, ValueError) as error:
            raise UsageError(f"not a schedule ({error})", "model.schedule", "correct its arguments") from error
    return schedule
