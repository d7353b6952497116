"""Intervals by the bootstrap over utterances (Efron & Tibshirani 1993, chapter 13: the percentile interval)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def interval(statistic: Callable[[np.ndarray], float], count: int, seed: int = 0) -> tuple[float, float] | None:
    """The interval that holds 95 % of the statistic of as many utterances drawn with replacement. `statistic` is given
    the indices (count,) of those drawn. None for a single utterance, which tells nothing of how they vary.
    """
    if count < 2:
        return None
    drawn = np.array([statistic(indices) for indices in _resamples(count, seed)])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resamples(count: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        yield generator.integers(count, size=count)
