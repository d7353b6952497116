"""The last stage of a preparation: units into shards, tar by tar."""

from __future__ import annotations

import functools
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vocolab.data.preparation import encode, prematch, spelling
from vocolab.data.preparation.scan import Item, Scan
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work, write_json
from vocolab.data.shards.index import ROW
from vocolab.matching import average
from vocolab.weights import sha256

STAGE = "packed"
SYMBOL_BYTES = 8  # of a symbol in KEY.json, about
GROUP = 8  # utterances of one speaker that lie side by side
_KEPT = np.dtype(
    [(n, "<i8") for n in ("item", "unit", "place", "audio_at", "frame_at", "samples", "frames", "symbols")]
)


@dataclass
class Layout:
    """Which sample goes into which shard."""

    kept: np.ndarray  # (n,) of _KEPT: every utterance that is packed, and its place in its unit
    shards: dict[str, np.ndarray]  # name without `.tar` -> rows of `kept`, in order
    speakers: dict[str, dict[str, int]]  # split -> speaker -> number, in alphabetical order


def layout(preparation: Preparation, work: Work, scan: Scan) -> Layout:
    """A pure function of what was encoded: the same in every process and after every restart."""
    left_out = spelling.unsayable(preparation, work, scan)
    kept = np.array([row for row in _kept(work, scan) if row[0] not in left_out], dtype=_KEPT)
    rows: dict[str, dict[str, list[int]]] = {}
    for row, position in enumerate(kept["item"]):
        item = scan.items[position]
        rows.setdefault(item.split, {}).setdefault(item.utterance.speaker, []).append(row)
    shards = {}
    for split, by_speaker in sorted(rows.items()):
        generator = np.random.default_rng([preparation.seed, zlib.crc32(split.encode())])
        groups = [
            group
            for speaker in sorted(by_speaker)
            for group in _cut(generator.permutation(sorted(by_speaker[speaker], key=lambda r: kept["item"][r])))
        ]
        order = np.concatenate([groups[i] for i in generator.permutation(len(groups))])
        for number, part in enumerate(_divide(preparation, kept, order)):
            shards[f"{split}/shard-{number:06d}"] = part
    speakers = {split: {name: n for n, name in enumerate(sorted(names))} for split, names in rows.items()}
    return Layout(kept, shards, speakers)


def _divide(preparation: Preparation, kept: np.ndarray, order: np.ndarray) -> list[np.ndarray]:
    """The rows of a split, `order`, shard by shard: as many shards as were asked for (fewer where there are fewer
    samples), or as many as their size demands.
    """
    if preparation.num_shards is not None:
        return np.array_split(order, min(preparation.num_shards, len(order)))
    place = _sizes(preparation, kept[order]).cumsum() // (preparation.shard_mb * 1e6)
    _, shard = np.unique(place, return_inverse=True)  # a sample larger than a shard leaves no gap in the numbers
    return [order[shard == number] for number in range(shard[-1] + 1)]


def _kept(work: Work, scan: Scan) -> Iterator[tuple[int, ...]]:
    for unit in scan.units:
        done, audio_at, frame_at = work.read(encode.STAGE, unit.number), 0, 0
        lengths = done.get("lengths", [0] * len(done["kept"]))
        for place, ((position, samples, frames), symbols) in enumerate(zip(done["kept"], lengths, strict=True)):
            yield position, unit.number, place, audio_at, frame_at, samples, frames, symbols
            audio_at, frame_at = audio_at + samples, frame_at + frames


def _cut(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + GROUP] for start in range(0, len(rows), GROUP)]


def _sizes(preparation: Preparation, kept: np.ndarray) -> np.ndarray:
    """Bytes of each sample, about: audio, features or codes, symbols, headers."""
    extra = (1024 if preparation.codec is not None else 0) + SYMBOL_BYTES * kept["symbols"]
    return 2 * kept["samples"] + 2 * frame_width(preparation) * kept["frames"] + extra + 2560


def frame_width(preparation: Preparation) -> int:
    """How many numbers of two bytes the shards hold for each frame, beside the audio."""
    codes = 0 if preparation.codec is None else preparation.codec.levels
    return codes if preparation.encoder is None else preparation.encoder.dim


def pack(preparation: Preparation, work: Work, scan: Scan, names: Iterable[str], device: str) -> Iterator[str]:
    """Write the shards of these names; yield each name when it is done."""
    plan = layout(preparation, work, scan)
    source = Source(preparation, work, scan)
    for name in names:
        rows = plan.kept[plan.shards[name]]
        speakers = plan.speakers[name.partition("/")[0]]
        with work.finish(STAGE, name) as folder:
            tar = folder / "shard.tar"
            with open(tar, "wb") as file:
                write_tar(file, (source.sample(row) for row in rows))
            target = work.shards / f"{name}.tar"
            about = {"sha256": sha256(tar), "samples": len(rows), "bytes": tar.stat().st_size}
            write_json(folder / "item.json", {"name": f"{name}.tar"} | about)
            numbers = [speakers[scan.items[item].utterance.speaker] for item in rows["item"]]
            np.save(folder / "rows.npy", index_rows(tar, numbers))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(tar, target)
        yield name


class Source:
    """The samples as they go into a tar, read from the units."""

    def __init__(self, preparation: Preparation, work: Work, scan: Scan):
        self.preparation, self.work, self.scan = preparation, work, scan
        self._array = functools.lru_cache(maxsize=64)(lambda path: np.load(path, mmap_mode="r"))
        self._symbols = functools.lru_cache(maxsize=64)(lambda path: json.loads(path.read_text(encoding="utf-8")))
        self._pool = functools.lru_cache(maxsize=4)(self._open_pool)

    def sample(self, row: np.void) -> dict[str, Any]:
        item: Item = self.scan.items[row["item"]]
        folder = self.work.item(encode.STAGE, int(row["unit"]))
        audio = self._array(folder / "audio.npy")[row["audio_at"] : row["audio_at"] + row["samples"]]
        about = self._about(item, len(audio))
        if self.preparation.text is not None:
            about["phonemes"] = self._symbols(folder / "symbols.json")[row["place"]]
        sample = {"__key__": item.utterance.key, "audio.npy": _npy(audio), "json": json.dumps(about).encode()}
        if self.preparation.encoder is not None:
            sample["feats.npy"] = _npy(self._feats(row, folder))
        if self.preparation.codec is not None:
            codes = self._array(folder / "codes.npy")[row["frame_at"] : row["frame_at"] + row["frames"]]
            sample["codes.npy"] = _npy(codes.T)  # (K, L)
        return sample

    def _feats(self, row: np.void, folder: Path) -> np.ndarray:
        """Features (L, C): as encoded, or the mean of their neighbours."""
        span = slice(row["frame_at"], row["frame_at"] + row["frames"])
        if self.preparation.prematch is not None:
            places = self._array(self.work.item(prematch.STAGE, int(row["unit"])) / "places.npy")[span]
            if places[0, 0] >= 0:
                unit = self.scan.units[row["unit"]]
                mean = average(self._pool(unit.pool, unit.split), torch.from_numpy(np.array(places)))
                return mean.half().numpy()
        return self._array(folder / "feats.npy")[span]

    def _open_pool(self, pool: str, split: str) -> prematch.Joined:
        unit = next(u for u in self.scan.pools[pool] if u.split == split)
        return prematch.Joined(prematch.pool_paths(self.work, prematch.pool_units(self.scan, unit), "feats"))

    def _about(self, item: Item, samples: int) -> dict[str, Any]:
        u = item.utterance
        return {
            "speaker": u.speaker,
            "chapter": u.chapter,
            "language": u.language,
            "text": u.text,
            "seconds": samples / self.preparation.rate,
            "source": u.source,
        }


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array))
    return file.getvalue()


def write_tar(file: io.BufferedWriter, samples: Iterable[dict[str, Any]]) -> None:
    """An ordinary webdataset shard whose bytes depend on the samples alone."""
    from webdataset.writer import TarWriter

    with TarWriter(file, user="", group="", mode=0o644, encoder=False, mtime=0) as tar:
        for sample in samples:
            tar.write(sample)


def index_rows(path: Path, speakers: list[int]) -> np.ndarray:
    """The index rows of a finished tar, with the offsets that are found in it; `shard` is set later."""
    rows = np.zeros(len(speakers), dtype=ROW)
    rows["speaker"] = speakers
    keys: dict[str, int] = {}
    with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
        for member in tar:
            key, _, kind = member.name.partition(".")
            row = rows[keys.setdefault(key, len(keys))]
            if kind == "json":
                row["json_at"], row["json_size"] = member.offset_data, member.size
                file.seek(member.offset_data)
                phonemes = json.loads(file.read(member.size)).get("phonemes")
                row["symbols"] = 0 if phonemes is None else len(phonemes) + 2  # with `<s>` and `</s>`
                continue
            file.seek(member.offset_data)
            np.lib.format.read_magic(file)
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            row[{"audio.npy": "audio_at", "feats.npy": "feats_at", "codes.npy": "codes_at"}[kind]] = file.tell()
            if kind == "codes.npy":
                row["frames"] = shape[1]  # (K, L)
            else:
                row[{"audio.npy": "samples", "feats.npy": "frames"}[kind]] = shape[0]
    bare = (rows["feats_at"] == 0) & (rows["codes_at"] == 0)
    rows["frames"][bare] = rows["samples"][bare]  # without features or codes the hop is 1
    return rows
