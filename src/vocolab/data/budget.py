"""Batches of a limited number of positions for language models: which utterances go together, with which prompts."""

from __future__ import annotations

from typing import Literal

import numpy as np

from vocolab.data.plan import Items, Plan
from vocolab.data.shards.index import Index
from vocolab.errors import VocolabError
from vocolab.rng import draw, mix, permute

PromptKind = Literal["prefix", "segment", "speaker"]
MARKS = 5  # positions of a sequence beside text, prompt and response, at most: three separators, language, stop


class TooLong(VocolabError):
    """An utterance that alone exceeds the budget; `row` is its row of the index, `named` adds its key."""

    def __init__(self, row: int, positions: int, tokens: int, seconds: float, name: str = ""):
        self.row, self.positions, self.tokens, self.seconds = row, positions, tokens, seconds
        what = f"utterance {name or f'in row {row} of the index'} takes {positions:,} positions with its prompt"
        remedy = f"raise --data.batches.tokens, or leave it out with --data.batches.max_seconds below {seconds:.2f}"
        super().__init__(what, f"the budget of a batch is {tokens:,}", remedy)

    def named(self, key: str) -> TooLong:
        return TooLong(self.row, self.positions, self.tokens, self.seconds, repr(key))


class Prompts:
    """Where the prompts of utterances are cut: from their own start, from themselves or from others of the speaker.

    To choose among the other utterances of a speaker, all utterances are laid end to end, speaker by speaker, and a
    frame is drawn from the speaker's stretch outside the utterance itself: the utterance it falls into is cut. So each
    frame is equally likely, and no list of candidates is made.
    """

    def __init__(self, index: Index, kind: PromptKind, audio: bool = False):
        """`audio`: the items hold the recordings too."""
        self.kind, self.audio = kind, audio
        self.frames = index.rows["frames"].astype(np.int32)
        if kind != "speaker":
            return
        self.speaker = np.asarray(index.rows["speaker"])
        self.order, self.blocks = index.by_speaker()  # `blocks`: places of each speaker in the order
        self.place = np.empty_like(self.order)  # (n,) place of each row in that order
        self.place[self.order] = np.arange(len(self.order), dtype=np.uint32)
        line = self.frames[self.order]
        self.ends = np.cumsum(line, dtype=np.int64)  # (n,) where each utterance ends on the line, in that order
        count = np.diff(self.blocks)
        self.edges = np.zeros(len(self.blocks), np.int64)  # between the speakers' stretches of the line
        self.edges[self.blocks > 0] = self.ends[self.blocks[self.blocks > 0] - 1]
        self.totals = np.diff(self.edges)  # frames of each speaker
        filled = np.flatnonzero(count)
        self.most_frames = np.zeros(len(count), np.int32)  # of the longest utterance of each speaker
        self.most_frames[filled] = np.maximum.reduceat(line, self.blocks[:-1][filled])

    def most(self, rows: np.ndarray, length: int) -> np.ndarray:
        """The most frames (b,) that a prompt of `length` adds to those of the utterance itself."""
        if self.kind == "prefix":
            return np.zeros(len(rows), np.int32)
        longest = self.frames[rows] if self.kind == "segment" else self.most_frames[self.speaker[rows]]
        return np.minimum(longest, length)

    def alone(self, rows: np.ndarray) -> int:
        """How many of `rows` are the only utterance of their speaker, so that `speaker` prompts are cut from them."""
        if self.kind != "speaker":
            return 0
        single = self.most_frames == self.totals  # (speakers,)
        return int(np.count_nonzero(single[self.speaker[rows]]))

    def longest(self, rows: np.ndarray) -> np.ndarray:
        """The longest utterance (b,) of each row's speaker."""
        if self.kind != "speaker":
            return rows
        blocks = [self.order[self.blocks[s] : self.blocks[s + 1]] for s in self.speaker[rows]]
        return np.array([block[self.frames[block].argmax()] for block in blocks], np.int64)

    def sources(self, rows: np.ndarray, key: int) -> np.ndarray:
        """The utterance (b,) that each prompt is cut from: that of the row itself where its speaker has no other."""
        if self.kind != "speaker":
            return rows
        own = self.frames[rows].astype(np.int64)
        others = self.totals[self.speaker[rows]] - own
        line = self.edges[self.speaker[rows]] + draw(rows, np.maximum(others, 1), key)
        line += np.where(line >= self.ends[self.place[rows]] - own, own, 0)  # skip the utterance itself
        places = np.minimum(np.searchsorted(self.ends, line, side="right"), len(self.order) - 1)
        return np.where(others > 0, self.order[places], rows).astype(np.int64)

    def cut(self, rows: np.ndarray, sources: np.ndarray, length: int, key: int) -> Items:
        """The items with prompts of up to `length` frames: whole utterances, or (`prefix`) what follows the prompt."""
        lengths = self.frames[sources].astype(np.int64)
        if self.kind == "prefix":
            frames = np.minimum(length, lengths // 2)  # the longer part is to be spoken
            prompts = Items(rows, np.zeros_like(frames), frames)
            return Items(rows, frames, lengths - frames, True, prompts, audio=self.audio)
        frames = np.minimum(length, lengths)
        starts = draw(rows, lengths - frames + 1, key)
        prompts = Items(sources, starts, frames)
        return Items(rows, np.zeros_like(rows), self.frames[rows].astype(np.int64), True, prompts, audio=self.audio)


class TokenPlan(Plan):
    """Every utterance once, those of similar length together, no batch above `tokens` positions, padding included.

    Utterances are sorted by the positions they may take with their prompts, and the sorted list is cut into buckets:
    each as long as `spread` allows, but at least one utterance longer than a batch. Within a bucket they are shuffled.
    Buckets and the sizes of their batches do not depend on the epoch, so that all epochs have the same number of
    batches. It is a multiple of `ranks`: some batches are halved for that, and where there are too few utterances some
    are repeated.
    """

    def __init__(
        self,
        index: Index,
        tokens: int,
        prompts: Prompts,
        length: tuple[int, int],  # frames of a prompt, at least and at most; drawn for a whole batch
        limits: tuple[float, float],  # frames of an utterance, at least and at most
        spread: float,
        seed: int,
        epoch: int,
        ranks: int = 1,
    ):
        self.tokens, self.prompts, self.length = tokens, prompts, length
        self.key = mix(seed, epoch, 4)
        frames = prompts.frames
        least = max(limits[0], 2 if prompts.kind == "prefix" else 1)
        rows = np.flatnonzero((frames >= least) & (frames <= limits[1])).astype(np.uint32)
        positions = index.rows["symbols"].astype(np.int32)[rows] + frames[rows]
        positions += prompts.most(rows, length[1]) + MARKS
        self.count, self.size, self.left_out = len(rows), 1, len(frames) - len(rows)
        self.alone = prompts.alone(rows)
        if len(rows) and (most := int(positions.max())) > tokens:
            row = int(rows[positions.argmax()])
            raise TooLong(row, most, tokens, frames[row] * index.hop / index.sample_rate)
        shorter = int(positions.max(initial=0)) - positions
        narrow = shorter.astype(np.uint16) if shorter.max(initial=0) < 1 << 16 else shorter  # sorts faster
        order = np.argsort(narrow, kind="stable")
        self.rows, self.positions = rows[order], positions[order]  # (n,) from long to short
        self._cut(spread, ranks)

    def _cut(self, spread: float, ranks: int) -> None:
        """Set `buckets` (k + 1,), where each begins and the last ends, and of every batch `first`, `end`, `bucket`."""
        total, buckets, edges = len(self.rows), [0], [np.zeros(1, np.int64)]
        falling = -self.positions
        while (first := buckets[-1]) < total:
            longest = int(self.positions[first])
            size = self.tokens // longest
            shortest = np.int32(np.ceil(longest / (1 + spread)))  # of the array's type, or the array would be copied
            end = int(np.searchsorted(falling, -shortest, side="right"))
            # More than one batch: a bucket of one would give the same batch in every epoch.
            end = min(max(end, first + size + 1), total)
            batches = -(-(end - first) // size)
            end = min(first + batches * size, total)
            edges.append(first + (end - first) * np.arange(1, batches + 1) // batches)
            buckets.append(end)
        self.buckets = np.array(buckets)
        cuts = _divide(np.concatenate(edges), ranks)
        # All batches, the first of them again where the ranks would not get as many each.
        again = np.arange(-(-(len(cuts) - 1) // ranks) * ranks) % max(len(cuts) - 1, 1)
        self.first, self.end = cuts[:-1][again], cuts[1:][again]
        self.bucket = np.searchsorted(self.buckets, self.first, side="right") - 1

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, batch: int) -> Items:
        if not 0 <= batch < len(self):
            raise IndexError(batch)
        place = int(permute(np.array([batch]), len(self), mix(self.key, 1))[0])
        bucket = int(self.bucket[place])
        first, end = int(self.buckets[bucket]), int(self.buckets[bucket + 1])
        within = np.arange(self.first[place], self.end[place]) - first
        rows = self.rows[first + permute(within, end - first, mix(self.key, 2, bucket))].astype(np.int64)
        low, high = self.length
        length = low + mix(self.key, 3, place) % (high - low + 1)
        return self._items(rows, self.prompts.sources(rows, mix(self.key, 4)), length)

    def longest(self) -> Items:
        """The batch that may take most memory in any epoch: of those within a twentieth of the most positions, padding
        included, the one with the longest sequences, whose attention costs most. Its prompts are as long as can be.
        """
        positions = (self.end - self.first) * self.positions[self.buckets[self.bucket]]
        place = int(np.flatnonzero(positions >= 0.95 * positions.max())[0])  # long ones come first
        first = int(self.buckets[self.bucket[place]])
        rows = self.rows[first : first + int(self.end[place] - self.first[place])].astype(np.int64)
        return self._items(rows, self.prompts.longest(rows), self.length[1])

    def _items(self, rows: np.ndarray, sources: np.ndarray, length: int) -> Items:
        return self.prompts.cut(rows, sources, length, mix(self.key, 5))


def _divide(cuts: np.ndarray, ranks: int) -> np.ndarray:
    """Halve the largest batches, given by their edges `cuts`, until their number is a multiple of `ranks`, or none can
    be halved. Returns the edges.
    """
    while missing := -(len(cuts) - 1) % ranks:
        sizes = np.diff(cuts)
        large = np.argsort(-sizes, kind="stable")[:missing]
        large = np.sort(large[sizes[large] > 1])
        if not len(large):
            break
        cuts = np.insert(cuts, large + 1, cuts[large] + sizes[large] // 2)
    return cuts
