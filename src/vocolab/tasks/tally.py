"""Sums of losses over batches and ranks, and the figures made of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vocolab.lm.base import Losses


@dataclass
class Figures:
    """The mean losses of a group of batches on all ranks."""

    tokens: Tensor  # scalar: how many were trained or measured on
    means: dict[str, Tensor]  # by name: `loss`; `aux_loss` and those of `Losses.extra`, where there are any
    counts: dict[str, Tensor]  # by the same names: how many tokens the mean is over
    levels: list[dict[str, Tensor]]  # for each level: loss, acc, tokens; `tokens` is 0 where no batch drew the level

    def named(self, split: str) -> dict[str, float]:
        """Metrics by name. A mean over no token is left out: neither 0 nor NaN would be true."""
        metrics = {f"{split}/{name}": float(value) for name, value in self.means.items() if self.counts[name] > 0}
        for k, level in enumerate(self.levels):
            if level["tokens"] > 0:
                metrics |= {f"{split}/{name}_level_{k}": float(level[name]) for name in ("loss", "acc")}
        return metrics


class Tally:
    """Adds up the `Losses` of batches without waiting for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, losses: Losses) -> None:
        sums = {"tokens": losses.tokens, "loss": losses.total, **losses.extra}
        if losses.aux_loss is not None:  # a mean already: it is weighed by the tokens of its batch
            sums |= {"aux_loss": losses.aux_loss * losses.tokens, "aux_tokens": losses.tokens}
        sums |= {"levels": torch.stack([losses.level_tokens, losses.level_loss, losses.level_hits])}  # (3, K)
        wide = torch.float32 if losses.total.device.type == "mps" else torch.float64
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().to(wide)

    def take(self, reduce: Callable[[Tensor], Tensor]) -> Figures | None:
        """The figures of what was added since the last call, None if nothing was. `reduce` sums a tensor over ranks."""
        if not self._sums:
            return None
        names = sorted(self._sums)  # the same on all ranks
        reduced = reduce(torch.cat([self._sums[name].flatten() for name in names]))
        sums = dict(zip(names, reduced.split([self._sums[name].numel() for name in names]), strict=True))
        self._sums = {}
        count, loss, hits = sums.pop("levels").view(3, -1)
        levels = [{"tokens": n, "loss": a / n, "acc": h / n} for n, a, h in zip(count, loss, hits, strict=True)]
        # NAME_loss and NAME_acc are divided by NAME_tokens where there is such a sum, else by all tokens.
        counts = {name: sums.pop(name)[0] for name in names if name.endswith("tokens")}
        counted = {name: counts.get(f"{name.rpartition('_')[0]}_tokens", counts["tokens"]) for name in sums}
        means = {name: value[0] / counted[name] for name, value in sums.items()}
        return Figures(counts["tokens"], means, counted, levels)


class Clock:
    """Measures tokens a second, without the time between `pause` and `go_on`."""

    def __init__(self) -> None:
        self._since = self._paused = 0.0
        self._tokens = 0.0

    def start(self, tokens: float) -> None:
        self._since, self._tokens = time.perf_counter(), tokens

    def pause(self) -> None:
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        self._since += time.perf_counter() - self._paused

    def rate(self, tokens: float) -> float:
        """Tokens a second since `start` or the last call, given the tokens so far."""
        now, before = time.perf_counter(), (self._since, self._tokens)
        self._since, self._tokens = now, tokens
        return (tokens - before[1]) / max(now - before[0], 1e-9)
