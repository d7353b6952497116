"""What every benchmark shares: both sides timed alternately in one process, the median of their times, a record with
machine and versions.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ("vocolab", "torch", "numpy", "lightning", "transformers", "webdataset", "coqui-tts", "vocos")


def machine(device: str = "cpu") -> str:
    """Processor and cores, or the name of the graphics card, in words."""
    import os

    if device != "cpu":
        import torch

        return torch.cuda.get_device_name(device)
    try:
        model = next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def record(
    name: str,
    ours: float,
    unit: str,
    baseline: float | None = None,
    ratio: float | None = None,
    repeats: int = 1,
    device: str = "cpu",
    **extra,
) -> dict:
    """One figure in the form every benchmark writes. `ratio` above 1 means ours is better, but in `decode_floor` and
    `encode_floor`.
    """
    return {
        "name": name,
        "baseline": baseline,
        "ours": ours,
        "ratio": ratio,
        "unit": unit,
        "repeats": repeats,
        "machine": machine(device),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        **extra,
    }


def seconds(function: Callable[[], object], device: str = "cpu") -> float:
    wait(device)
    start = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Until a graphics card has done all that it was told."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize(device)


def compare(
    name: str,
    baseline: Callable[[], object],
    ours: Callable[[], object],
    repeats: int = 5,
    warmup: int = 1,
    device: str = "cpu",
    **extra,
) -> dict:
    """Time both sides alternately after a warm-up; medians in seconds, ratio = baseline / ours."""
    for _ in range(warmup):
        baseline(), ours()
    times = [(seconds(baseline, device), seconds(ours, device)) for _ in range(repeats)]
    slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
    return record(name, fast, "s", slow, slow / fast, repeats, device, **extra)


def arguments(description: str, device: bool = False) -> argparse.ArgumentParser:
    """`device`: for a benchmark that a graphics card can run too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--repeats", type=int, default=5)
    if device:
        parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    return parser


def report(records: list[dict], path: Path | None) -> None:
    """Print a line a figure; write them as JSON (one record bare, several as a list)."""
    for row in records:
        ratio = "" if row["ratio"] is None else f"  ratio {row['ratio']:.2f}  (baseline {row['baseline']:.4g})"
        print(f"{row['name']}: {row['ours']:.4g} {row['unit']}{ratio}")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records[0] if len(records) == 1 else records, indent=2) + "\n")
