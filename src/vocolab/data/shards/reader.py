"""Read just the bytes a batch needs from tars mapped into memory."""

from __future__ import annotations

import functools
import json
import math
import mmap
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vocolab.data.batches import SpeechBatch
from vocolab.data.plan import Items, Matches
from vocolab.data.shards.index import Index
from vocolab.data.shards.manifest import REMEDY, read_symbols
from vocolab.errors import VocolabError
from vocolab.matching import average, knn
from vocolab.text import SymbolMap

_FLOAT16, _INT16 = np.dtype("<f2"), np.dtype("<i2")
_HEADER = 512  # bytes of the tar header right before a member's data; it begins with the member's name


class ShardReader:
    """Batches of one split.

    Maps are opened when first needed, at most `open_shards` at a time; a pickled reader opens its own.
    """

    def __init__(self, root: Path, split: str, open_shards: int = 128):
        """Raises `VocolabError` where the index is missing or a shard is not as long as when it was written."""
        self.root, self.split, self.open_shards = Path(root), split, open_shards
        self.index = Index.open(self.root, split)
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()
        for shard, size in enumerate(self.index.sizes):
            self._check(shard, size)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root, self.split, self.open_shards)

    def batch(self, items: Items) -> SpeechBatch:
        """Samples in the types they are stored in, padded with zeros to the longest.

        Raises `VocolabError` where a shard is gone or cut, or holds codes that the codec does not have.
        """
        index, rows = self.index, self.index.rows[items.rows]
        maps = [self._map(shard) for shard in rows["shard"].tolist()]
        length = int(items.frames.max())
        channels = index.channels
        first = np.minimum(items.starts * index.hop, rows["samples"])  # (B,) samples
        samples = np.minimum((items.starts + items.frames) * index.hop, rows["samples"]) - first
        audio_at = rows["audio_at"].astype(np.int64) + 2 * first
        feats_at = rows["feats_at"].astype(np.int64) + 2 * channels * items.starts
        # The disk is asked for the whole batch before the first byte is waited for.
        if items.audio:
            announce(maps, audio_at, 2 * samples)
        announce(maps, feats_at, 2 * channels * items.frames)
        for stretch in [items, items.prompts] if index.levels else []:
            self._announce_codes(stretch)
        texts = self._texts(rows) if items.whole and rows["symbols"].any() else {}
        prompts = {}
        if items.prompts is not None and index.levels:
            prompts = {"prompts": self._codes(items.prompts)}
            prompts["prompt_lengths"] = torch.from_numpy(items.prompts.frames)
        feats = _stack(maps, feats_at, items.frames, (length, channels), _FLOAT16) if channels else None
        if feats is not None and items.matches is not None:
            self._match(feats, items.frames, items.matches)
        return SpeechBatch(
            audio=_stack(maps, audio_at, samples, (length * index.hop,), _INT16) if items.audio else None,
            audio_lengths=torch.from_numpy(samples) if items.audio else None,
            feats=feats,
            codes=self._codes(items) if index.levels else None,
            lengths=torch.from_numpy(items.frames),
            rows=torch.from_numpy(items.rows),
            starts=torch.from_numpy(items.starts),
            keys=[self._key(row) for row in rows] if items.whole else [],
            speakers=[index.speakers[speaker] for speaker in rows["speaker"].tolist()],
            **texts,
            **prompts,
        )

    def key(self, row: int) -> str:
        """The key of a row of the index."""
        return self._key(self.index.rows[row])

    def _match(self, feats: torch.Tensor, frames: np.ndarray, matches: Matches) -> None:
        """Replace features (B, L, C) by the mean of their nearest in each sample's pool."""
        for sample, length, topk, pool in zip(
            feats, frames.tolist(), matches.topk.tolist(), matches.pools, strict=True
        ):
            if topk:
                others = torch.from_numpy(np.concatenate([self._feats(row) for row in self.index.rows[pool]])).float()
                sample[:length] = average(others, knn(sample[:length], others, topk))

    def _feats(self, row: np.void) -> np.ndarray:
        """Features (L, C) of a whole utterance."""
        size = int(row["frames"]) * self.index.channels
        return np.frombuffer(self._map(int(row["shard"])), _FLOAT16, size, int(row["feats_at"])).reshape(
            -1, self.index.channels
        )

    def _announce_codes(self, items: Items | None) -> None:
        if items is not None:
            rows = self.index.rows[items.rows]
            maps = [self._map(shard) for shard in rows["shard"].tolist()]
            sizes = 2 * self.index.levels * rows["frames"].astype(np.int64)
            announce(maps, rows["codes_at"].astype(np.int64), sizes)

    def _codes(self, items: Items) -> torch.Tensor:
        """Codes (B, K, L) int16 of stretches of utterances."""
        levels, rows = self.index.levels, self.index.rows[items.rows]
        out = np.zeros((len(rows), levels, int(items.frames.max())), _INT16)
        for b, (row, start, frames) in enumerate(zip(rows, items.starts, items.frames, strict=True)):
            mapped = self._map(int(row["shard"]))
            stored = np.frombuffer(mapped, _INT16, levels * int(row["frames"]), int(row["codes_at"]))
            out[b, :, :frames] = stored.reshape(levels, -1)[:, start : start + frames]
            self._check_codes(out[b], row)
        return torch.from_numpy(out)

    def _check_codes(self, codes: np.ndarray, row: np.void) -> None:
        size = self.index.size
        if size and codes.view(np.uint16).max(initial=0) >= size:  # as unsigned numbers, negative codes are large too
            wrong = codes[(codes < 0) | (codes >= size)]
            what = f"code {wrong[0]} of {self._key(row)!r}, and the codec has 0 to {size - 1}"
            raise VocolabError(what, self.root / self.index.shards[row["shard"]], REMEDY)

    def _texts(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """`text`, `text_lengths` and `language` of a batch."""
        abouts = [self._about(row) for row in rows]
        ids = [self.symbol_map.ids(about["phonemes"]) for about in abouts]
        lengths = torch.tensor([len(row) for row in ids])
        text = torch.zeros(len(ids), int(lengths.max()), dtype=torch.int64)
        for row, values in zip(text, ids, strict=True):
            row[: len(values)] = torch.tensor(values)
        known = {language: i for i, language in enumerate(self.symbol_map.languages)}
        language = torch.tensor([known.get(about["language"], 0) for about in abouts])
        return {"text": text, "text_lengths": lengths, "language": language}

    @functools.cached_property
    def symbol_map(self) -> SymbolMap:
        """The ids that the shards' symbols have."""
        return read_symbols(self.root)

    def audio(self, row: int) -> np.ndarray:
        """The whole waveform (T,) int16 of a row of the index."""
        stored = self.index.rows[row]
        return np.frombuffer(self._map(int(stored["shard"])), _INT16, int(stored["samples"]), int(stored["audio_at"]))

    def description(self, row: int) -> dict[str, Any]:
        """The KEY.json of a row of the index."""
        return self._about(self.index.rows[row])

    def _about(self, row: np.void) -> dict[str, Any]:
        start, size, shard = int(row["json_at"]), int(row["json_size"]), int(row["shard"])
        try:
            return json.loads(self._map(shard)[start : start + size])
        except ValueError as error:
            raise VocolabError(
                "damaged shard (no description)", self.root / self.index.shards[shard], REMEDY
            ) from error

    def _key(self, row: np.void) -> str:
        start = int(row["json_at"]) - _HEADER
        name = self._map(int(row["shard"]))[start : start + 100]
        return name.split(b"\0", 1)[0].decode().split(".", 1)[0]

    def _map(self, shard: int) -> mmap.mmap:
        if shard in self._maps:
            self._maps.move_to_end(shard)
            return self._maps[shard]
        path = self._check(shard, self.index.sizes[shard])
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_RANDOM)  # else the system reads many pages around each one
        self._maps[shard] = mapped
        if len(self._maps) > self.open_shards:
            self._maps.popitem(last=False)  # unmapped when no array of a batch lies in it any more
        return mapped

    def _check(self, shard: int, expected: int) -> Path:
        path = self.root / self.index.shards[shard]
        try:
            size = path.stat().st_size
        except OSError as error:
            raise VocolabError("shard is missing", path, REMEDY) from error
        if size != expected:
            raise VocolabError(f"damaged shard ({size} bytes, expected {expected})", path, REMEDY)
        return path


def announce(maps: list[mmap.mmap], at: np.ndarray, sizes: np.ndarray) -> None:
    """Ask the system to read bytes [at, at + size) of each map, without waiting; at, sizes (B,)."""
    if not hasattr(mmap.mmap, "madvise"):
        return
    pages = at - at % mmap.PAGESIZE
    for mapped, page, size in zip(maps, pages.tolist(), (at + sizes - pages).tolist(), strict=True):
        if size:
            mapped.madvise(mmap.MADV_WILLNEED, page, size)


def _stack(
    maps: list[mmap.mmap], at: np.ndarray, lengths: np.ndarray, shape: tuple[int, ...], dtype: np.dtype
) -> torch.Tensor:
    """Arrays of `lengths` rows from bytes `at` of the maps as one (B, *shape), zeros behind the shorter ones."""
    width = math.prod(shape[1:])
    out = (np.empty if (lengths == shape[0]).all() else np.zeros)((len(maps), shape[0] * width), dtype)
    for row, mapped, start, count in zip(out, maps, at.tolist(), (lengths * width).tolist(), strict=True):
        row[:count] = np.frombuffer(mapped, dtype, count, start)
    return torch.from_numpy(out.reshape(len(maps), *shape))
