"""Learning-rate schedules: pure functions of the update number, so that a resumed run goes on where it was."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


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
    """Linear warm-up over `warmup` updates, then 1/sqrt(update), so that it passes through 1 at the end of the warm-up
    (Vaswani et al. 2017, §5.3, whose factor it is up to the base rate).
    """

    def __init__(self, warmup: int = 4000):
        self.warmup = warmup

    def __call__(self, step: int) -> float:
        warmup = max(self.warmup, 1)
        return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))
