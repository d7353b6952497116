"""The curves of a run, as its metrics.csv holds them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from vocolab.errors import VocolabError


def read_run(run: Path) -> dict[str, np.ndarray]:
    """{name: (N, 2) of step and value} of a run's metrics.csv, `step` itself included.

    Raises `VocolabError` where the run has no metrics.csv, or an empty one.
    """
    path = run / "metrics.csv" if run.is_dir() else run
    if not path.is_file():
        raise VocolabError("no metrics.csv in the run", run, "give the folder of a run that has trained")
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                step = float(row["step"])
                for name, value in row.items():
                    if value:
                        found.setdefault(name, []).append((step, float(value)))
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise VocolabError(f"not a run's metrics ({error})", path, "give the folder of a run") from error
    if not found:
        raise VocolabError("metrics.csv is empty", path, "wait for the run's first line")
    return {name: np.array(points) for name, points in found.items()}
