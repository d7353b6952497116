"""What the names of logged figures mean, for a run's README and the picture of its curves."""

from __future__ import annotations

import re
from functools import cache

from vocolab.metrics import Metric
from vocolab.metrics.choice import all_metrics

LEVEL = re.compile(r"(loss|acc)_level_(\d+)")
DIRECTIONS = {"up": "more is better", "down": "less is better"}


def meaning(name: str) -> str:
    """What `val/stoi` is, say; empty where it is not known here."""
    figure = name.rpartition("/")[2]
    if metric := _metrics().get(figure):
        unit = f"{metric.unit}; " if metric.unit else ""
        return f"{metric.title} ({unit}{DIRECTIONS[metric.better]})"
    if figure == "loss":
        return "what training makes small (less is better)"
    if match := LEVEL.fullmatch(figure):
        kind, level = match.groups()
        if kind == "loss":
            return f"cross-entropy of the codes of codebook {level} (nats; less is better)"
        return f"how often the right code of codebook {level} is among the ten likeliest (0 to 1; more is better)"
    return ""


@cache
def _metrics() -> dict[str, Metric]:
    return {metric.name: metric for metric in all_metrics()}
