"""Small shards made with plain webdataset and tarfile, independent of `vocolab.data.preparation.prepare`."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import webdataset

from vocolab.data.shards.index import ROW, Index
from vocolab.data.shards.manifest import write_manifest

HOP, CHANNELS = 20, 5


def utterance(split: str, row: int, frames: int) -> dict[str, np.ndarray]:
    """Arrays that tell row and frame: feats (L, C) hold (row, frame, 0 ...), audio (T,) counts samples."""
    feats = np.zeros((frames, CHANNELS), np.float16)
    feats[:, 0], feats[:, 1] = row, np.arange(frames)
    audio = (np.arange(frames * HOP) + 31 * row).astype(np.int16)
    return {"feats": feats, "audio": audio}


def write_shards(root: Path, lengths: dict[str, list[int]], per_shard: int = 5, spec: dict | None = None) -> Path:
    """A shard folder of utterances with so many frames by split; utterance i is speaker i % 3's and has key SPLIT-i."""
    entries, splits = [], {}
    for split, frames in lengths.items():
        rows = np.zeros(len(frames), ROW)
        names, sizes = [], []
        for first in range(0, len(frames), per_shard):
            name = f"{split}/shard-{len(names):06d}.tar"
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with webdataset.TarWriter(str(path)) as tar:
                for row in range(first, min(first + per_shard, len(frames))):
                    arrays = utterance(split, row, frames[row])
                    members = {f"{kind}.npy": array for kind, array in arrays.items()}
                    tar.write({"__key__": f"{split}-{row}", **members, "json": {"speaker": f"s{row % 3}", "row": row}})
            _fill(rows, path, shard=len(names), frames=frames)
            names.append(name)
            sizes.append(path.stat().st_size)
            entries.append({"name": name, "bytes": sizes[-1], "samples": min(per_shard, len(frames) - first)})
        Index(rows, names, sizes, ["s0", "s1", "s2"], 16000, HOP, CHANNELS).write(root, split)
        splits[split] = {"samples": len(frames), "seconds": sum(frames) * HOP / 16000, "speakers": 3}
    write_manifest(root, {"format": 1, "spec": spec or {}, "splits": splits, "shards": entries, "skipped": []})
    return root


def _fill(rows: np.ndarray, path: Path, shard: int, frames: list[int]) -> None:
    with tarfile.open(path) as tar, open(path, "rb") as raw:
        for member in tar:
            key, _, kind = member.name.partition(".")
            row = int(key.rpartition("-")[2])
            at = member.offset_data
            if kind == "json":
                rows["json_at"][row], rows["json_size"][row] = at, member.size
                continue
            raw.seek(at)
            version = np.lib.format.read_magic(raw)
            assert version == (1, 0)
            np.lib.format.read_array_header_1_0(raw)
            rows[kind.replace(".npy", "_at")][row] = raw.tell()
            rows["shard"][row], rows["speaker"][row] = shard, row % 3
            rows["frames"][row], rows["samples"][row] = frames[row], frames[row] * HOP
