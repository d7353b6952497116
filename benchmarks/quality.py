"""What `vocolab evaluate` says of a subject, for the benchmarks of quality (`make bench-env`)."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vocolab.evaluation import Subject, evaluate
from vocolab.metrics.choice import all_metrics, choose

HERE = Path(__file__).parent


def evaluated(subject: Subject, names: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The figures by name, and the rows of the utterances. Ends the program where a metric's package is missing."""
    metrics, left_out = choose(names, all_metrics(subject.voices))
    if left_out:
        raise SystemExit("; ".join(left_out.values()))
    with tempfile.TemporaryDirectory(prefix="vocolab-quality-") as folder:
        found = evaluate(subject, metrics, Path(folder) / "results", on_row=lambda row: print(row.key, row.note))
        rows = list(csv.DictReader((Path(folder) / "results" / "results.csv").open(newline="")))
    if found["failed"]:
        raise SystemExit("; ".join(f"{key}: {why}" for key, why in found["failed"].items()))
    return {name: figure["value"] for name, figure in found["metrics"].items()}, rows
