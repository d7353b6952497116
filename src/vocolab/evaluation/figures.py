"""From the rows of utterances to figures with intervals, and to differences from another evaluation."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vocolab.errors import VocolabError
from vocolab.evaluation.bootstrap import interval
from vocolab.evaluation.rows import Row
from vocolab.metrics import Metric

Figure = dict[str, Any]


def name_of(task: str, first: str, metric: str) -> str:
    """A figure's name: the metric's, after the task where it is not the first of several."""
    return metric if task == first else f"{task}_{metric}"


def figures(rows: Sequence[Row], metrics: Sequence[Metric], seed: int) -> tuple[dict[str, Figure], dict[str, Counter]]:
    """{name: figure} of each task and metric, and why utterances were not measured, with how many."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    found: dict[str, Figure] = {}
    unmeasured: dict[str, Counter] = {}
    for task in tasks:
        of_task = [row for row in rows if row.task == task]
        for metric in metrics:
            if not metric.fits(task) and any(map(metric.fits, tasks)):
                continue  # it is for the other task
            name = name_of(task, tasks[0], metric.name)
            if why := Counter(row.unmeasured[metric.name] for row in of_task if metric.name in row.unmeasured):
                unmeasured[name] = why
            if measured := [row.numbers[metric.name] for row in of_task if metric.name in row.numbers]:
                found[name] = _figure(metric, table(measured), seed)
    return found, unmeasured


def _figure(metric: Metric, numbers: np.ndarray, seed: int) -> Figure:
    bounds = interval(lambda chosen: metric.pool(numbers[chosen]), len(numbers), seed)
    low, high = bounds or (None, None)
    value = metric.pool(numbers)
    about = {"unit": metric.unit, "better": metric.better, "n": len(numbers), "title": metric.title}
    return {"value": value, "low": low, "high": high, **about, "source": metric.source}


def table(numbers: Iterable[Sequence[float]]) -> np.ndarray:
    """The numbers of utterances as (N, k), short rows filled up with NaN."""
    rows = list(numbers)
    padded = np.full((len(rows), max(map(len, rows))), math.nan)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


def differences(
    rows: Sequence[Row], metrics: Sequence[Metric], other: Mapping[str, Any], seed: int
) -> dict[str, Figure]:
    """{name: difference from another evaluation's results, ours minus theirs, over the utterances that both have}."""
    theirs: Mapping[str, Mapping[str, list[float]]] = other["utterances"]
    tasks = list(dict.fromkeys(row.task for row in rows))
    found: dict[str, Figure] = {}
    for task in tasks:
        for metric in metrics:
            name = name_of(task, tasks[0], metric.name)
            pairs = [
                (row.numbers[metric.name], theirs[row.key][name])
                for row in rows
                if row.task == task and metric.name in row.numbers and name in theirs.get(row.key, {})
            ]
            if pairs:
                ours, others = zip(*pairs, strict=True)
                found[name] = _difference(metric, table(ours), table(others), seed)
    return found


def _difference(metric: Metric, ours: np.ndarray, theirs: np.ndarray, seed: int) -> Figure:
    def statistic(chosen: np.ndarray) -> float:
        return metric.pool(ours[chosen]) - metric.pool(theirs[chosen])

    low, high = interval(statistic, len(ours), seed) or (None, None)
    value = statistic(np.arange(len(ours)))
    return {"value": value, "low": low, "high": high, "unit": metric.unit, "better": metric.better, "n": len(ours)}


def check_common(other: Mapping[str, Any], keys: Sequence[str], metrics: Sequence[str], where: object) -> None:
    """Raise `VocolabError` where another evaluation measured none of these utterances by one of these metrics."""
    theirs: Mapping[str, Mapping[str, Any]] = other["utterances"]
    if not any(name.endswith(metric) for key in keys for name in theirs.get(key, ()) for metric in metrics):
        raise VocolabError("no utterance and metric in common", where, "give results of the same utterances")


def read_results(path: Path) -> dict[str, Any]:
    """An evaluation's results. Raises `VocolabError` where the file holds none."""
    if path.is_dir():
        path = path / "results.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found["metrics"], dict) and isinstance(found["utterances"], dict):
            return found
    except OSError as error:
        raise VocolabError(f"cannot read the results ({error.strerror})", path, "correct --against") from error
    except (ValueError, LookupError, TypeError):
        pass
    raise VocolabError("not the results of an evaluation", path, "give a results.json with --against")
