"""Nearest neighbours by cosine similarity, exact, in blocks: the pool may be longer than memory."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vocolab.errors import VocolabError

BLOCK = 16384  # pool frames compared at once
QUERY_BLOCK = 2048  # query frames compared at once: a block of similarities takes at most 128 MiB
FOLD = 32  # columns folded into one before the selection


class Frames(Protocol):
    """An array (N, C) as far as matching needs one: it may lie on a disk and be read where it is indexed."""

    @property
    def ndim(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Any: ...


class Pool:
    """Frames to be matched, their norms measured once for any number of queries.

    frames (N, C): a tensor or a (memory-mapped) array of any float type; it is kept as it is and converted block by
    block.
    """

    def __init__(self, frames: Tensor | Frames, block: int = BLOCK):
        if frames.ndim != 2:
            raise VocolabError(f"pool of shape {tuple(frames.shape)}", "matching", "give (N, C): frames by features")
        self.frames, self.block = frames, block
        norms = [_rows(frames, span).norm(dim=1) for span in _spans(len(frames), block)]
        self.scale = 1 / torch.cat(norms or [torch.ones(0)]).clamp(min=1e-12)  # (N,)

    def __len__(self) -> int:
        return len(self.frames)

    def knn(self, query: Tensor, k: int, exclude: range | slice | Tensor | None = None) -> Tensor:
        """Indices (L, k) of the k pool frames nearest to each query frame (L, C), nearest first; see `knn`."""
        if query.ndim != 2 or query.shape[1] != self.frames.shape[1]:
            raise VocolabError(
                f"query of shape {tuple(query.shape)} against a pool of shape {tuple(self.frames.shape)}",
                "matching",
                "both need the features of the same encoder",
            )
        query = query.detach().float()
        spans = _excluded(exclude, len(query), len(self)).to(query.device)  # (L, 2)
        _check_k(k, len(self) - int((spans[:, 1] - spans[:, 0]).max()) if len(query) else len(self))
        best = torch.full((len(query), k), -torch.inf, device=query.device)
        indices = torch.zeros((len(query), k), dtype=torch.long, device=query.device)
        # One buffer for all blocks: allocating memory for each would cost a tenth of the time.
        buffer = query.new_empty(min(len(query), QUERY_BLOCK) * min(len(self), self.block))
        for columns in _spans(len(self), self.block):  # outermost, so that each block is read and converted once
            # No normalised copies: the query's norm does not change the order of a row, and the pool's norms become
            # factors of the columns.
            block = _rows(self.frames, columns).to(query.device).T
            scale = self.scale[columns.start : columns.stop].to(query.device)
            for rows in map(_slice, _spans(len(query), QUERY_BLOCK)):
                shape = (len(query[rows]), len(columns))
                similarity = torch.mm(query[rows], block, out=buffer[: math.prod(shape)].view(shape)).mul_(scale)
                _mask(similarity, spans[rows], columns)
                value, index = _largest(similarity, k)
                value, order = torch.cat([best[rows], value], 1).topk(k)
                best[rows], indices[rows] = value, torch.cat([indices[rows], index + columns.start], 1).gather(1, order)
        return indices


def knn(
    query: Tensor,
    pool: Tensor | Frames,
    k: int,
    exclude: range | slice | Tensor | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Indices (L, k) of the k frames of pool (N, C) nearest to each frame of query (L, C) by cosine, nearest first.

    exclude: pool frames that may not be chosen: one range for all query frames, or a tensor (L, 2) of [start, stop) for
    each. Equal to an exhaustive search; memory beyond the arguments is bounded by `block`. Raises `VocolabError` where
    k does not fit the pool.
    """
    return Pool(pool, block).knn(query, k, exclude)


def average(synth: Tensor | Frames, indices: Tensor) -> Tensor:
    """The unweighted mean (L, C), in float32, of the frames of synth (N, C) at indices (L, k)."""
    mean = torch.empty(len(indices), synth.shape[1], device=indices.device)
    for rows in map(_slice, _spans(len(indices), QUERY_BLOCK)):
        chosen = indices[rows].to(synth.device) if isinstance(synth, Tensor) else indices[rows].cpu().numpy()
        frames = synth[chosen] if isinstance(synth, Tensor) else torch.from_numpy(np.asarray(synth[chosen]))
        mean[rows] = frames.float().mean(1).to(mean.device)
    return mean


def _largest(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and columns (L, min(k, N)) of the k largest of each row of similarity (L, N).

    The k largest lie in the k folds with the largest maxima, and a maximum over folds is far cheaper than a selection
    over columns.
    """
    folds = similarity.shape[1] // FOLD
    if folds < 2 * k:
        return similarity.topk(min(k, similarity.shape[1]))
    folded, rest = similarity[:, : folds * FOLD], similarity[:, folds * FOLD :]
    fold = folded.unflatten(1, (FOLD, folds)).amax(1).topk(k).indices  # (L, k)
    columns = (fold[:, :, None] + torch.arange(FOLD, device=fold.device) * folds).flatten(1)  # (L, k · FOLD)
    last = torch.arange(folds * FOLD, similarity.shape[1], device=fold.device).expand(len(similarity), -1)
    candidates = torch.cat([folded.gather(1, columns), rest], 1)
    value, order = candidates.topk(k)
    return value, torch.cat([columns, last], 1).gather(1, order)


def _mask(similarity: Tensor, spans: Tensor, columns: range) -> None:
    """Put −inf where a row's excluded [start, stop) meets the block's columns."""
    starts, stops = (spans - columns.start).clamp(0, len(columns)).T
    if not len(spans) or not bool((starts < stops).any()):
        return
    first, last = int(starts.min()), int(stops.max())
    column = torch.arange(first, last, device=similarity.device)
    hidden = (column >= starts[:, None]) & (column < stops[:, None])
    similarity[:, first:last].masked_fill_(hidden, -torch.inf)


def _excluded(exclude: range | slice | Tensor | None, queries: int, size: int) -> Tensor:
    """Excluded [start, stop) of each query frame, (L, 2)."""
    if isinstance(exclude, Tensor):
        if exclude.shape != (queries, 2):
            raise VocolabError(f"excluded ranges of shape {tuple(exclude.shape)}", "matching", f"give ({queries}, 2)")
        return exclude.clamp(0, size)
    start, stop, step = (0, 0, 1)
    if exclude is not None:
        as_slice = slice(exclude.start, exclude.stop, exclude.step) if isinstance(exclude, range) else exclude
        start, stop, step = as_slice.indices(size)
    if step != 1:
        raise VocolabError(f"excluded range with step {step}", "matching", "give a range of step 1")
    return torch.tensor([[start, max(start, stop)]]).expand(queries, 2)


def _check_k(k: int, limit: int) -> None:
    if k < 1:
        raise VocolabError(f"k = {k} neighbours", "matching", "k must be at least 1 (4 is usual)")
    if k > limit:
        remedy = f"choose k ≤ {limit} or give more reference speech"
        raise VocolabError(f"k = {k} neighbours of a pool of {limit} frames", "matching", remedy)


def _spans(length: int, block: int) -> list[range]:
    return [range(start, min(start + block, length)) for start in range(0, length, block)]


def _slice(span: range) -> slice:
    return slice(span.start, span.stop)


def _rows(frames: Tensor | Frames, span: range) -> Tensor:
    """Rows of a tensor or array as float32."""
    rows = frames[span.start : span.stop]
    return rows.float() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows, dtype=np.float32))
