"""Crops whose features are matched anew each time they are drawn: which speech of the speaker each is matched with."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from vocolab.data.plan import EvenPlan, Items, Matches
from vocolab.data.shards.index import Index
from vocolab.rng import draw, mix


class MatchedPlan(EvenPlan):
    """The crops of another plan, each with a number of neighbours and a pool of other speech of its speaker.

    A pool is a run of the speaker's utterances in the order of the index, round and round, the crop's own left out. It
    begins anywhere and ends with the utterance that fills the length drawn for it. A crop stays plain by the share of
    `plain`, and where its speaker's other speech has fewer frames than the neighbours drawn.
    """

    def __init__(
        self,
        crops: EvenPlan,
        index: Index,
        plain: float,
        topk: tuple[int, int],  # neighbours, at least and at most
        frames: tuple[int, int],  # of a pool, at least and at most
        key: int,
    ):
        self.crops, self.plain, self.topk, self.frames, self.key = crops, plain, topk, frames, key
        self.count, self.size, self.left_out = crops.count, crops.size, crops.left_out
        self.speaker = np.asarray(index.rows["speaker"])
        self.order, self.edges = index.by_speaker()
        self.lengths = np.asarray(index.rows["frames"]).astype(np.int64)

    def items(self, numbers: np.ndarray) -> Items:
        items = self.crops.items(numbers)
        low, high = self.topk
        topk = low + draw(numbers, np.full(len(numbers), high - low + 1), mix(self.key, 1))
        topk[_uniform(numbers, mix(self.key, 2)) < self.plain] = 0
        short, long = map(math.log, self.frames)
        wanted = np.exp(short + (long - short) * _uniform(numbers, mix(self.key, 3)))
        first = _uniform(numbers, mix(self.key, 4))
        pools = []
        for i, row in enumerate(items.rows.tolist()):
            pool = self._pool(row, float(first[i]), float(wanted[i])) if topk[i] else np.zeros(0, np.int64)
            topk[i] *= self.lengths[pool].sum() >= topk[i]
            pools.append(pool)
        return dataclasses.replace(items, matches=Matches(topk, pools))

    def _pool(self, row: int, first: float, frames: float) -> np.ndarray:
        """Rows (n,) of other utterances of the speaker of `row`, from a place `first` in [0, 1) of its speech on."""
        own = self.order[self.edges[self.speaker[row]] : self.edges[self.speaker[row] + 1]].astype(np.int64)
        own = own[own != row]
        ends = np.cumsum(self.lengths[own])
        if not len(own):
            return own
        begin = int(np.searchsorted(ends, first * ends[-1], side="right"))
        turned = np.roll(own, -begin)
        return turned[: 1 + int(np.searchsorted(np.cumsum(self.lengths[turned]), frames))]


def _uniform(numbers: np.ndarray, key: int) -> np.ndarray:
    """A number (b,) in [0, 1) for each of `numbers` (b,), chosen by `key`."""
    return draw(numbers, np.full(len(numbers), 1 << 32), key) / 2**32
