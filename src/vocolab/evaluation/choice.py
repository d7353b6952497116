"""Which metrics are measured: those asked for, without those that cannot be had here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from vocolab.errors import UsageError, VocolabError
from vocolab.metrics import STOI, MelL1, Metric


def all_metrics() -> list[Metric]:
    """Every metric, in the order of the table."""
    return [MelL1(), STOI()]


def choose(names: Sequence[str], known: Sequence[Metric]) -> tuple[list[Metric], dict[str, str]]:
    """The metrics of these names (none: all), loaded, and those left out, each with what is missing.

    Raises `UsageError` for a name that is none, `VocolabError` where none of them can be had.
    """
    by_name = {metric.name: metric for metric in known}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, 1)
            remedy = f"did you mean {near[0]}?" if near else f"give some of {', '.join(by_name)}"
            raise UsageError(f"no such metric {name!r}", "--metrics", remedy)
    chosen, left_out = [], {}
    for metric in [by_name[name] for name in dict.fromkeys(names)] or known:
        try:
            metric.load()
        except VocolabError as error:
            left_out[metric.name] = str(error)
        else:
            chosen.append(metric)
    if not chosen:
        name, why = next(iter(left_out.items()))
        raise VocolabError(f"no metric can be measured ({name}: {why})", "--metrics", "install what is missing")
    return chosen, left_out
