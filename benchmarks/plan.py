"""How long an index of ten million utterances takes to open, and an epoch's first batch to be known.

Each time is that of a fresh process whose imports are done, with the index file in the page cache or (`:cold`) dropped
from it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import arguments, record, report

from vocolab.data.shards.index import ROW, Index

CHILD = """
import json, resource, sys, time
from pathlib import Path
from vocolab.data.batches import Crops
from vocolab.data.shards.index import Index
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
index = Index.open(Path(sys.argv[1]), "train")
opened = time.perf_counter()
plan = Crops(22, 16).plan(index, seed=1, epoch=int(sys.argv[2]))
first = plan[0]
known = time.perf_counter()
assert len(first) == 16 and (first.starts + 22 <= index.rows["frames"][first.rows]).all()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"open": opened - start, "batch": known - opened, "batches": len(plan), "memory": memory}))
"""


def write_index(root: Path, utterances: int) -> None:
    """Rows of utterances of 2 to 35 s in shards of 300."""
    rng = np.random.default_rng(0)
    rows = np.zeros(utterances, ROW)
    rows["shard"] = np.arange(utterances) // 300
    rows["frames"] = rng.integers(100, 1750, utterances)
    rows["samples"] = rows["frames"] * 320
    rows["speaker"] = rng.integers(0, 10_000, utterances)
    shards = [f"train/shard-{i:06d}.tar" for i in range(int(rows["shard"][-1]) + 1)]
    Index(rows, shards, [500_000_000] * len(shards), [f"s{i}" for i in range(10_000)], 16000, 320, 1024).write(
        root, "train"
    )


def measure(root: Path, epoch: int, cold: bool) -> dict[str, float]:
    if cold:
        with open(root / "index" / "train.npy", "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), str(epoch)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--utterances", type=int, default=10_000_000)
    args = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_index(root, args.utterances)
        for cold in [False] + [True] * hasattr(os, "posix_fadvise"):
            runs = [measure(root, epoch, cold) for epoch in range(args.repeats)]
            suffix, extra = ":cold" * cold, {"utterances": args.utterances, "batches": runs[0]["batches"]}
            for name in ("open", "batch"):
                median = statistics.median(run[name] for run in runs)
                label = {"open": "open", "batch": "first_batch"}[name]
                figures.append(record(f"plan:{label}{suffix}", median, "s", repeats=args.repeats, **extra))
            peak = statistics.median(run["memory"] for run in runs) * 1024
            figures.append(record(f"plan:memory{suffix}", peak, "bytes", repeats=args.repeats, **extra))
    report(figures, args.json)


if __name__ == "__main__":
    main()
