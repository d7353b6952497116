"""The stage after encoding: finding each frame's nearest neighbours in the pool of its speaker."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vocolab.data.preparation import encode
from vocolab.data.preparation.scan import Scan, Unit
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work, write_json
from vocolab.matching import Pool
from vocolab.precision import full_precision

STAGE = "matched"
IN_MEMORY = 2 << 30  # bytes of a pool that is read at once; a larger one is read block by block from the disk


class Joined:
    """Arrays on disk that are indexed as one (N, C); only the rows asked for are read."""

    ndim = 2

    def __init__(self, paths: Iterable[Path]):
        self.parts = [np.load(path, mmap_mode="r") for path in paths]
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.shape = (int(self.starts[-1]), self.parts[0].shape[1] if self.parts else 0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """A slice of step 1, or rows (...) in any order -> (..., C)."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            cuts = [
                part[max(start - a, 0) : max(stop - a, 0)] for part, a in zip(self.parts, self.starts, strict=False)
            ]
            return np.concatenate(cuts)
        wanted, places = np.unique(rows, return_inverse=True)  # ascending: the disk is read forwards, each row once
        edges = np.searchsorted(wanted, self.starts)
        cuts = [
            part[wanted[a:b] - start]
            for part, start, a, b in zip(self.parts, self.starts, edges[:-1], edges[1:], strict=False)
        ]
        return np.concatenate(cuts)[places.reshape(rows.shape)]


@dataclass
class Neighbours:
    """What a query is matched against."""

    frames: Pool
    rows: np.ndarray | None  # (N,) places in the whole pool of the frames kept under `max_pool_frames`; None: all are


def pool_units(scan: Scan, unit: Unit) -> list[Unit]:
    """The units whose frames, one after the other, make the pool of `unit`: those of the training split and its own."""
    return [u for u in scan.pools[unit.pool] if u.split in ("train", unit.split)]


def pool_paths(work: Work, units: Iterable[Unit], name: str) -> list[Path]:
    paths = [work.item(encode.STAGE, u.number) / f"{name}.npy" for u in units]
    return [path for path in paths if path.exists()]  # a unit without a usable file has none


def match(preparation: Preparation, work: Work, scan: Scan, names: Iterable[int], device: str) -> Iterator[int]:
    """Match the units with these numbers and write the neighbours' places to the disk; yield each number when done."""
    previous: tuple[str, str] | None = None
    for name in names:
        unit = scan.units[name]
        if (unit.pool, unit.split) != previous:
            neighbours = _neighbours(preparation, work, scan, unit, device)
            previous = (unit.pool, unit.split)
        kept = work.read(encode.STAGE, name)["kept"]
        places, plain = _match_unit(preparation, work, scan, unit, kept, neighbours, device)
        with work.finish(STAGE, name) as folder:
            np.save(folder / "places.npy", places)
            write_json(folder / "item.json", {"plain": plain})
        yield name


@full_precision()
def _neighbours(preparation: Preparation, work: Work, scan: Scan, unit: Unit, device: str) -> Neighbours | None:
    paths = pool_paths(work, pool_units(scan, unit), matching_name(preparation))
    if not paths:
        return None
    assert preparation.prematch is not None
    joined, limit = Joined(paths), preparation.prematch.max_pool_frames
    if limit is not None and limit < len(joined):
        seed = [preparation.seed, zlib.crc32(f"{unit.split}/{unit.pool}".encode("utf-8", "surrogateescape"))]
        rows = np.sort(np.random.default_rng(seed).choice(len(joined), limit, replace=False))
        return Neighbours(Pool(torch.from_numpy(joined[rows]).to(device)), rows)
    if 2 * joined.shape[0] * joined.shape[1] <= IN_MEMORY:
        return Neighbours(Pool(torch.from_numpy(joined[:]).to(device)), None)
    return Neighbours(Pool(joined), None)


def matching_name(preparation: Preparation) -> str:
    matching, stored = preparation.layers
    return "feats" if matching == stored else "match"


@full_precision()
def _match_unit(
    preparation: Preparation,
    work: Work,
    scan: Scan,
    unit: Unit,
    kept: list[list[int]],
    neighbours: Neighbours | None,
    device: str,
) -> tuple[np.ndarray, list[int]]:
    """Places (L, k) in the pool, -1 for an utterance whose pool is too small; the positions of those utterances."""
    assert preparation.prematch is not None
    topk = preparation.prematch.topk
    lengths = np.array([frames for _, _, frames in kept], dtype=np.int64)
    places = np.full((int(lengths.sum()), topk), -1, dtype=np.int64)
    if neighbours is None:
        return places, []
    own = _own_ranges(work, scan, unit, lengths)  # (utterances, 2)
    if neighbours.rows is not None:
        own = np.searchsorted(neighbours.rows, own)
    enough = len(neighbours.frames) - (own[:, 1] - own[:, 0]) >= topk
    queried = np.repeat(enough, lengths)
    if queried.any():
        path = work.item(encode.STAGE, unit.number) / f"{matching_name(preparation)}.npy"
        query = torch.from_numpy(np.load(path)[queried]).to(device)
        excluded = torch.from_numpy(np.repeat(own, lengths, axis=0)[queried])
        found = neighbours.frames.knn(query, topk, excluded).cpu().numpy()
        places[queried] = found if neighbours.rows is None else neighbours.rows[found]
    return places, [position for (position, _, _), matched in zip(kept, enough, strict=True) if not matched]


def _own_ranges(work: Work, scan: Scan, unit: Unit, lengths: np.ndarray) -> np.ndarray:
    """[start, stop) of each utterance of the unit in its pool, (utterances, 2): it is not matched with these frames."""
    before = 0
    for other in pool_units(scan, unit):
        if other.number == unit.number:
            break
        before += sum(frames for _, _, frames in work.read(encode.STAGE, other.number)["kept"])
    stops = before + np.cumsum(lengths)
    return np.stack([stops - lengths, stops], axis=1)
