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
    """What a group of batches, on all ranks, came to."""

    tokens: Tensor  # scalar
    means: dict[str, Tensor]  # loss, and where there are any aux_loss and the language model's own
    counts: dict[str, Tensor]  # tokens that each of `means` is of
    levels: list[dict[str, Tensor]]  # by level: loss, acc, tokens; `tokens` 0: the level was not drawn

    def named(self, split: str) -> dict[str, float]:
        """Metrics by name; what there was no token of is left out, since neither 0 nor NaN is their loss."""
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
        if losses.aux_loss is not None:  # a mean: it counts by the tokens of its batch
            sums |= {"aux_loss": losses.aux_loss * losses.tokens, "aux_tokens": losses.tokens}
        sums |= {"levels": torch.stack([losses.level_tokens, losses.level_loss, losses.level_hits])}  # (3, K)
        wide = torch.float32 if losses.total.device.type == "mps" else torch.float64
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().to(wide)

    def take(self, reduce: Callable[[Tensor], Tensor]) -> Figures | None:
        """The figures of what was added since the last call, None if nothing was; `reduce` sums over ranks."""
        if not self._sums:
            return None
        names = sorted(self._sums)  # the same on all ranks
        reduced = reduce(torch.cat([self._sums[name].flatten() for name in names]))
        sums = dict(zip(names, reduced.split([self._sums[name].numel() for name in names]), strict=True))
        self._sums = {}
        count, loss, hits = sums.pop("levels").view(3, -1)
        levels = [{"tokens": n, "loss": a / n, "acc": h / n} for n, a, h in zip(count, loss, hits, strict=True)]
        # A sum `NAME_loss` is over its own `NAME_tokens` where it names them.
        counts = {name: sums.pop(name)[0] for name in names if name.endswith("tokens")}
        of = {name: counts.get(name.removesuffix("loss") + "tokens", counts["tokens"]) for name in sums}
        means = {name: value[0] / of[name] for name, value in sums.items()}
        return Figures(counts["tokens"], means, of, levels)


class Clock:
    """Tokens a second since the last reading, pauses left out."""

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
        """`tokens` counted so far; begins anew."""
        now, before = time.perf_counter(), (self._since, self._tokens)
        self._since, self._tokens = now, tokens
        return (tokens - before[1]) / max(now - before[0], 1e-9)
