"""The files and the table of an evaluation."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vocolab.evaluation.figures import name_of
from vocolab.evaluation.rows import Row
from vocolab.extras import EXTRAS
from vocolab.files import atomic
from vocolab.metrics import Metric

METRICS = tuple(package for package, extra in EXTRAS.items() if extra == "metrics")
PACKAGES = ("vocolab", "torch", "numpy", "soxr", "pystoi", "transformers", "onnxruntime", "ctranslate2", *METRICS)


def versions() -> dict[str, str]:
    """Of the packages that the figures depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def write_csv(path: Path, rows: Sequence[Row], metrics: Sequence[Metric]) -> None:
    """A row an utterance; a field is empty where the metric could not be measured."""
    columns = [metric.name for metric in metrics if any(metric.name in row.numbers for row in rows)]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["utterance", "task", "seconds", "reference_seconds", *columns, "note"])
        for row in rows:
            values = values_of(row, metrics)
            fields = [values.get(name, "") for name in columns]
            lengths = ["" if s is None else round(s, 3) for s in (row.seconds, row.reference_seconds)]
            writer.writerow([row.key, row.task, *lengths, *fields, row.failed or row.note])


def values_of(row: Row, metrics: Sequence[Metric]) -> dict[str, float]:
    """What each metric says of an utterance."""
    return {m.name: m.value(tuple(row.numbers[m.name])) for m in metrics if m.name in row.numbers}


def by_utterance(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """The numbers of each utterance by the names of the figures, for a later --against."""
    first = rows[0].task
    return {row.key: {name_of(row.task, first, name): n for name, n in row.numbers.items()} for row in rows}


def lines_of(results: Mapping[str, Any]) -> list[str]:
    """The table for a terminal."""
    header = ("metric", "value", "95 % interval", "n", "unit", "better", "")
    table = [header, *(_cells(name, figure) for name, figure in results["metrics"].items())]
    if against := results.get("against"):
        table += [("", "", "", "", "", "", ""), (f"difference from {against['file']}", "", "", "", "", "", "")]
        table += [_cells(name, figure, sign="+") for name, figure in against["metrics"].items()]
    widths = [max(len(row[i]) for row in table if row[1] or not row[0]) for i in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _cells(name: str, figure: Mapping[str, Any], sign: str = "") -> tuple[str, ...]:
    low, high = figure["low"], figure["high"]
    bounds = "" if low is None else f"{number(low, sign)} to {number(high, sign)}"
    told = "" if not sign or low is None else verdict(figure)
    return name, number(figure["value"], sign), bounds, str(figure["n"]), figure["unit"], figure["better"], told


def verdict(difference: Mapping[str, Any]) -> str:
    """What an interval of a difference says."""
    low, high = difference["low"], difference["high"]
    if low is None or low <= 0 <= high:
        return "no clear difference"
    return "better" if (low > 0) == (difference["better"] == "up") else "worse"


def number(value: float, sign: str = "") -> str:
    """Three significant digits, and no fewer than those before the point."""
    digits = f"{value:{sign}.3g}" if abs(value) < 1000 else f"{value:{sign}.0f}"
    return digits if "e" not in digits else f"{value:{sign}.4f}"


def nothing_measured(rows: Sequence[Row]) -> tuple[str, str, str] | None:
    """What, where and why, if no utterance could be measured at all."""
    if any(row.numbers for row in rows):
        return None
    first = rows[0]
    reasons: dict[str, list[str]] = {}
    for name, reason in first.unmeasured.items():
        reasons.setdefault(reason, []).append(name)
    why = first.failed or "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"nothing could be measured ({why})", f"{first.key}{more}", "give other speech"


def unmeasured_lines(results: Mapping[str, Any]) -> list[str]:
    """What could not be measured, a line for each reason."""
    by_reason: dict[tuple[str, int, int], list[str]] = {}
    for name, reasons in results["unmeasured"].items():
        measured = results["metrics"][name]["n"] if name in results["metrics"] else 0
        total = measured + sum(reasons.values())  # all utterances of the task
        for why, count in reasons.items():
            by_reason.setdefault((why, count, total), []).append(name)
    return [
        f"{', '.join(names)} could not be measured on {count} of {total} utterances: {why}"
        for (why, count, total), names in by_reason.items()
    ]
