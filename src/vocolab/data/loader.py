"""Loaders: worker processes read whole planned batches, in the order of the plan however many workers there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from vocolab.data.batches import Batches, SpeechBatch
from vocolab.data.budget import TooLong
from vocolab.data.plan import Plan, share, walk
from vocolab.data.shards.reader import ShardReader
from vocolab.errors import VocolabError


class PlannedBatches(Dataset):
    """The batches of one rank, by (epoch, number).

    Only its arguments are pickled: a worker process maps the shards itself.
    """

    def __init__(self, root: Path, split: str, batches: Batches, seed: int = 0, rank: int = 0, ranks: int = 1):
        self.reader = ShardReader(root, split)
        self.batches, self.seed, self.rank, self.ranks = batches, seed, rank, ranks
        self._plan: tuple[int, Plan] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reader.root, self.reader.split, self.batches, self.seed, self.rank, self.ranks)

    def plan(self, epoch: int) -> Plan:
        if self._plan is None or self._plan[0] != epoch:
            self._plan = epoch, self.make_plan(epoch)
        return self._plan[1]

    def make_plan(self, epoch: int) -> Plan:
        with self._naming():
            return self.batches.plan(self.reader.index, self.seed, epoch, self.ranks)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Name the utterance by its key in the error that no batch can hold it."""
        try:
            yield
        except TooLong as error:
            raise error.named(self.reader.key(error.row)) from None

    def length(self, epoch: int = 0) -> int:
        """How many batches this rank has in an epoch; every rank has as many."""
        return share(len(self.plan(epoch)), self.ranks)

    def longest(self) -> SpeechBatch:
        """A batch that takes as much memory as any of the plan."""
        with self._naming():
            return self.reader.batch(self.batches.longest(self.reader.index))

    def __getitem__(self, place: tuple[int, int]) -> SpeechBatch | VocolabError:
        """The batch, or the error it met: raised in a worker process, it would reach the user inside a traceback."""
        epoch, number = place
        try:
            return self.reader.batch(self.plan(epoch)[number * self.ranks + self.rank])
        except VocolabError as error:
            return error


class CoveringBatches(PlannedBatches):
    """The batches of evaluation: the same in every epoch, each sample on one of the ranks, once."""

    def make_plan(self, epoch: int) -> Plan:
        with self._naming():
            return self.batches.cover(self.reader.index, self.ranks)


class TrainLoader:
    """An endless walk through the epochs' batches from the `position`-th on.

    `len` is the length of one epoch, after which Lightning calls `iter` again. The walk then goes on where it is, so
    workers do not stop between epochs, and one integer, the position, says where a run is.
    """

    def __init__(self, dataset: PlannedBatches, workers: int = 0, pin_memory: bool = False, position: int = 0):
        self.dataset, self.workers, self.pin_memory, self.position = dataset, workers, pin_memory, position
        self._iterator: Iterator | None = None  # Lightning sets it to None under this name when it tears down

    def __len__(self) -> int:
        return self.dataset.length()

    def __iter__(self) -> Iterator[SpeechBatch]:
        while True:
            if self._iterator is None:
                places = walk(self.dataset.length, self.position)
                self._iterator = iter(_data_loader(self.dataset, places, self.workers, self.pin_memory))
            batch = _checked(next(self._iterator))
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """What Lightning looks for in a loader that can resume. The data module needs none: it knows the position."""
        return {"batches": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to do: the position was given when the loader was built."""


class EvaluationLoader:
    """All batches of this rank, the same at each pass."""

    def __init__(self, dataset: CoveringBatches, workers: int = 0, pin_memory: bool = False):
        self.dataset = dataset
        self._loader = _data_loader(dataset, [(0, number) for number in range(dataset.length())], workers, pin_memory)

    def __len__(self) -> int:
        return self.dataset.length()

    def __iter__(self) -> Iterator[SpeechBatch]:
        return map(_checked, self._loader)


def _data_loader(dataset: Dataset, places: Iterable[tuple[int, int]], workers: int, pin_memory: bool) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=places,
        num_workers=workers,
        collate_fn=_as_is,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        # A loader draws a seed: from the global generator, that would change what the model draws.
        generator=torch.Generator(),
    )


def _as_is(batch: Any) -> Any:
    return batch


def _checked(batch: SpeechBatch | VocolabError) -> SpeechBatch:
    if isinstance(batch, VocolabError):
        raise batch
    return batch
