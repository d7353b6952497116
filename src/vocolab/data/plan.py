"""Which crops or utterances come in which batch: a pure function of (index, seed, epoch).

Nothing is shuffled in memory. The order is a keyed permutation computed item by item, so a plan over 300 million crops
costs one cumulative sum and any of its batches is known at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vocolab.rng import mix, permute

_BLOCK = 64  # batches computed together


@dataclass
class Items:
    """The samples of a batch, as stretches of rows of the index."""

    rows: np.ndarray  # (B,) rows of the index
    starts: np.ndarray  # (B,) first frame
    frames: np.ndarray  # (B,) number of frames
    whole: bool = False  # whole utterances, whose batches carry keys and texts
    prompts: Items | None = None  # the prompt of each sample
    audio: bool = True  # whether their audio is wanted
    matches: Matches | None = None  # the speech that each sample's features are matched with

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Items:
        prompts = None if self.prompts is None else self.prompts[part]
        matches = None if self.matches is None else self.matches[part]
        return Items(self.rows[part], self.starts[part], self.frames[part], self.whole, prompts, self.audio, matches)


@dataclass
class Matches:
    """For each sample of a batch, how many nearest frames of which utterances make a frame of it."""

    topk: np.ndarray  # (B,) neighbours; 0: the features stay as they are
    pools: list[np.ndarray]  # B times (n,) rows of the index, whose frames are compared

    def __getitem__(self, part: slice) -> Matches:
        return Matches(self.topk[part], self.pools[part])


class Plan(ABC):
    """The batches of an epoch, of which any can be asked for directly."""

    count: int  # items in all
    size: int  # items in the smallest batch
    left_out: int = 0  # utterances of the index that no batch holds, because they are too short (or too long)

    @abstractmethod
    def __len__(self) -> int:
        """Batches."""

    @abstractmethod
    def __getitem__(self, batch: int) -> Items: ...


class EvenPlan(Plan):
    """`count` items in a fixed order, `size` to a batch; the incomplete last batch is left out."""

    _known: tuple[int, Items] | None = None  # the last block of batches: computing one costs little more than a batch

    @abstractmethod
    def items(self, numbers: np.ndarray) -> Items:
        """The items at the given places (b,) of the order."""

    def __len__(self) -> int:
        return self.count // self.size

    def __getitem__(self, batch: int) -> Items:
        if not 0 <= batch < len(self):
            raise IndexError(batch)
        block, place = divmod(batch, _BLOCK)
        if self._known is None or self._known[0] != block:
            numbers = np.arange(block * _BLOCK * self.size, min((block + 1) * _BLOCK, len(self)) * self.size)
            self._known = block, self.items(numbers)
        return self._known[1][place * self.size : (place + 1) * self.size]


class CropPlan(EvenPlan):
    """Crops of `length` frames, each possible crop of the corpus equally likely, no frame twice in an epoch.

    Lay all possible crops of all utterances in one line, `frames - length + 1` to an utterance, and take every
    `length`-th of them from a random place on: two crops of one utterance then never overlap, and every start has the
    same chance. (Tiling each utterance with `frames // length` crops could not reach all starts: an utterance of two
    crops' length has only one such tiling.)
    """

    def __init__(self, frames: np.ndarray, length: int, size: int, seed: int, epoch: int):
        """frames (n,): lengths of the utterances."""
        self.frames, self.length, self.size = frames, length, size
        possible = np.maximum(frames.astype(np.int64) - (length - 1), 0)
        self.left_out = int(np.count_nonzero(possible == 0))
        self.ends = np.cumsum(possible, out=possible)  # (n,) end of each utterance on the line
        self.total = int(self.ends[-1]) if len(frames) else 0
        self.count = max(self.total // length, min(self.total, 1))
        self.phase = mix(seed, epoch, 1) % max(self.total, 1)
        self.key = mix(seed, epoch, 2)

    def items(self, numbers: np.ndarray) -> Items:
        places = (permute(numbers, self.count, self.key) * self.length + self.phase) % self.total
        rows = np.searchsorted(self.ends, places, side="right")
        starts = places - np.where(rows > 0, self.ends[rows - 1], 0)
        return Items(rows, starts, np.full(len(rows), self.length))


class UtterancePlan(EvenPlan):
    """Whole utterances in random order; those without a frame are left out."""

    def __init__(self, frames: np.ndarray, size: int, seed: int, epoch: int):
        self.frames, self.size = frames, size
        self.rows = np.flatnonzero(frames)
        self.count, self.left_out = len(self.rows), len(frames) - len(self.rows)
        self.key = mix(seed, epoch, 3)

    def items(self, numbers: np.ndarray) -> Items:
        rows = self.rows[permute(numbers, self.count, self.key)]
        return Items(rows, np.zeros(len(rows), np.int64), self.frames[rows].astype(np.int64), whole=True)


class LengthPlan(UtterancePlan):
    """Whole utterances from short to long, so that neighbours need little padding."""

    def __init__(self, frames: np.ndarray, size: int):
        super().__init__(frames, size, seed=0, epoch=0)
        self.rows = self.rows[np.argsort(frames[self.rows], kind="stable")]

    def items(self, numbers: np.ndarray) -> Items:
        rows = self.rows[numbers]
        return Items(rows, np.zeros(len(rows), np.int64), self.frames[rows].astype(np.int64), whole=True)


class Cover(EvenPlan):
    """Every item of another plan exactly once, for evaluation: in nearly equal batches, as many for each of `ranks`.

    No collective can hang, since all ranks have the same number of batches and none is empty. Items are
    repeated only where they are fewer than the ranks. Batches come in a fixed random order, so that the first few are
    like the rest.
    """

    def __init__(self, plan: EvenPlan, ranks: int = 1):
        self.plan, self.count, self.size, self.left_out = plan, plan.count, plan.size, plan.left_out
        # With more batches than `most`, some would be empty.
        most = max(self.count // ranks * ranks, min(self.count, ranks) and ranks)
        self.batches = min(-(-self.count // (self.size * ranks)) * ranks, most)

    def items(self, numbers: np.ndarray) -> Items:
        return self.plan.items(numbers)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, batch: int) -> Items:
        if not 0 <= batch < self.batches:
            raise IndexError(batch)
        place = int(permute(np.array([batch]), self.batches, mix(0))[0])
        first, end = place * self.count // self.batches, (place + 1) * self.count // self.batches
        return self.items(np.arange(first, max(end, first + 1)))


def share(batches: int, ranks: int) -> int:
    """How many batches each of `ranks` gets. Rank r takes r, r + ranks, …; an incomplete last round is left out."""
    return batches // ranks


def walk(batches_of: Callable[[int], int], position: int) -> Iterator[tuple[int, int]]:
    """(epoch, batch) of every batch from the `position`-th on, without end; an epoch has `batches_of(epoch)`."""
    epoch = 0
    while position >= (n := batches_of(epoch)):
        position, epoch = position - n, epoch + 1
    while True:
        yield from ((epoch, batch) for batch in range(position, batches_of(epoch)))
        position, epoch = 0, epoch + 1
