"""Training batches a second, and bytes read for one, against a plain `webdataset` pipeline over the same shards.

Both sides give 16 crops of 22 frames of 1024 fp16 features with their int16 audio, without worker processes. The
pipeline is the usual one: read a sample, decode it, cut one random crop out of it, batch; it does not even shuffle.
Ours is the loader that trains. For the rate, files are in the page cache; for the bytes they are dropped from it, and
what the kernel says this process had read from the disk is counted (/proc/self/io).
"""

from __future__ import annotations

import io
import itertools
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import webdataset
from harness import arguments, record, report, seconds

from vocolab.data.batches import Crops
from vocolab.data.loader import PlannedBatches, TrainLoader
from vocolab.data.preparation.pack import index_rows, write_tar
from vocolab.data.shards.index import Index

FRAMES, SIZE, CHANNELS, HOP = 22, 16, 1024, 320
LENGTH, PER_SHARD = 600, 50  # frames of an utterance: 12 s


def write_shards(root: Path, utterances: int) -> None:
    """Shards of random numbers with the sizes of real ones: 1.2 MB of features and 0.4 MB of audio an utterance."""
    rng = np.random.default_rng(0)
    (root / "train").mkdir()
    tables, names = [], []
    for shard, first in enumerate(range(0, utterances, PER_SHARD)):
        keys = range(first, min(first + PER_SHARD, utterances))
        names.append(f"train/shard-{shard:06d}.tar")
        with open(root / names[-1], "wb") as file:
            write_tar(file, (_sample(f"u{key}", rng) for key in keys))
            os.fsync(file.fileno())
        tables.append(index_rows(root / names[-1], [0] * len(keys)))
        tables[-1]["shard"] = shard
    sizes = [(root / name).stat().st_size for name in names]
    Index(np.concatenate(tables), names, sizes, ["s"], 16000, HOP, CHANNELS).write(root, "train")


def _sample(key: str, rng: np.random.Generator) -> dict[str, object]:
    feats = rng.standard_normal((LENGTH, CHANNELS), np.float32).astype(np.float16)
    audio = rng.integers(-32768, 32767, LENGTH * HOP, np.int16)
    return {
        "__key__": key,
        "audio.npy": _npy(audio),
        "feats.npy": _npy(feats),
        "json": json.dumps({"speaker": "s"}).encode(),
    }


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def samples(root: Path) -> webdataset.WebDataset:
    urls = [str(path) for path in sorted((root / "train").glob("*.tar"))]
    decoder = webdataset.handle_extension("npy", lambda data: np.load(io.BytesIO(data)))
    return webdataset.WebDataset(urls, shardshuffle=False).decode(decoder)


def pipeline(root: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches (feats (B, L, C), audio (B, T)) by plain webdataset, without end."""
    rng = np.random.default_rng(0)

    def crop(sample: dict) -> tuple[torch.Tensor, torch.Tensor]:
        start = rng.integers(len(sample["feats.npy"]) - FRAMES + 1)
        feats = sample["feats.npy"][start : start + FRAMES]
        return torch.from_numpy(feats), torch.from_numpy(sample["audio.npy"][start * HOP : (start + FRAMES) * HOP])

    def stack(crops: list) -> tuple[torch.Tensor, torch.Tensor]:
        feats, audio = zip(*crops, strict=True)
        return torch.stack(feats), torch.stack(audio)

    dataset = samples(root).map(crop).batched(SIZE, collation_fn=stack, partial=False).repeat()
    return iter(webdataset.WebLoader(dataset, batch_size=None, num_workers=0))


def check_equal(root: Path, loader: TrainLoader, theirs: Iterator) -> None:
    """Both sides give batches of one form, and our crops hold what webdataset reads at the same places."""
    feats, audio = next(theirs)
    whole = list(samples(root))
    for batch in itertools.islice(loader, 10):
        assert (batch.feats.shape, batch.feats.dtype) == (feats.shape, feats.dtype)
        assert (batch.audio.shape, batch.audio.dtype) == (audio.shape, audio.dtype)
        for b, (row, start) in enumerate(zip(batch.rows.tolist(), batch.starts.tolist(), strict=True)):
            assert np.array_equal(batch.feats[b], whole[row]["feats.npy"][start : start + FRAMES])
            assert np.array_equal(batch.audio[b], whole[row]["audio.npy"][start * HOP : (start + FRAMES) * HOP])


def rate(root: Path, utterances: int, repeats: int) -> dict:
    loader = TrainLoader(PlannedBatches(root, "train", Crops(FRAMES, SIZE)))
    ours, theirs = iter(loader), pipeline(root)
    check_equal(root, loader, theirs)
    fast, slow = len(loader), utterances // SIZE  # an epoch of ours has many more batches than a pass of theirs

    def take(batches: Iterator, count: int) -> float:
        return count / seconds(lambda: [next(batches) for _ in range(count)])

    take(theirs, slow), take(ours, fast)
    times = [(take(theirs, slow), take(ours, fast)) for _ in range(repeats)]
    baseline, measured = (statistics.median(column) for column in zip(*times, strict=True))
    return record("loader", measured, "batches/s", baseline, measured / baseline, repeats)


def bytes_per_batch(root: Path, utterances: int, repeats: int) -> dict:
    """Bytes that come from the disk for a batch when nothing is cached."""
    count = utterances // SIZE

    def ours() -> Iterator:
        return iter(TrainLoader(PlannedBatches(root, "train", Crops(FRAMES, SIZE))))

    def cold(make: Callable[[], Iterator]) -> float:
        _drop_cache(root)
        batches = make()
        before = _read_bytes()
        for _ in range(count):
            next(batches)
        return (_read_bytes() - before) / count

    times = [(cold(lambda: pipeline(root)), cold(ours)) for _ in range(repeats)]
    baseline, measured = (statistics.median(column) for column in zip(*times, strict=True))
    used = SIZE * FRAMES * 2 * (CHANNELS + HOP)
    return record(
        "loader:bytes_per_batch",
        measured,
        "bytes",
        baseline,
        baseline / measured if measured else None,  # a folder in memory reads nothing
        repeats,
        used=used,
        method="/proc/self/io",
    )


def _drop_cache(root: Path) -> None:
    for path in (root / "train").glob("*.tar"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read_bytes() -> int:
    return int(next(line for line in open("/proc/self/io") if line.startswith("read_bytes")).split()[1])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--utterances", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_shards(root, args.utterances)
        figures = [rate(root, args.utterances, args.repeats)]
        if Path("/proc/self/io").exists():
            figures.append(bytes_per_batch(root, args.utterances, args.repeats))
        report(figures, args.json)


if __name__ == "__main__":
    main()
