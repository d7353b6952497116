"""What the reports of both families share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from vocolab.curves import read_run
from vocolab.data.shards.manifest import NAME
from vocolab.errors import UsageError, VocolabError
from vocolab.report.stored import Stored, stored

T = TypeVar("T")


@dataclass
class Report:
    """What a report writes into the run's folder."""

    figures: dict[str, Any]
    wavs: dict[str, Tensor]  # (T,) by the names of their files
    sample_rate: int  # Hz
    picture: Figure


@dataclass
class Stopwatch:
    """Seconds of computing for seconds of speech, by stage."""

    spent: dict[str, float] = field(default_factory=dict)
    speech: dict[str, float] = field(default_factory=dict)

    def __call__(self, stage: str, speech: float | Callable[[T], float], function: Callable[[], T]) -> T:
        """Call `function` and return its result. `speech`: the seconds of speech that it works on or makes, or a
        function that tells them from the result.
        """
        start = time.perf_counter()
        result = function()
        self.spent[stage] = self.spent.get(stage, 0.0) + time.perf_counter() - start
        self.speech[stage] = self.speech.get(stage, 0.0) + (speech(result) if callable(speech) else speech)
        return result

    def rtf(self) -> dict[str, float]:
        """Real-time factors: below 1 is faster than speech."""
        return {stage: round(spent / self.speech[stage], 4) for stage, spent in self.spent.items()}


def speech_of(run: Path) -> tuple[list[Stored], list[Stored]]:
    """The training utterances in the run's shards, and the held-out ones. The corpus may be gone."""
    from vocolab.recipe import load_recipe

    shards = load_recipe(run / "config.yaml").data.folder()
    if not (shards / NAME).is_file():
        raise VocolabError("no shards", shards, f"make them again with vocolab prepare -c {run}/config.yaml")
    splits = stored(shards)
    held_out = splits.get("val") or splits.get("test")
    if not held_out:
        raise VocolabError("the shards hold nothing out", shards, "train on a corpus with a val split")
    return splits["train"], held_out


def find(utterances: list[Stored], key: str | None) -> Stored:
    for utterance in utterances:
        if key in (None, utterance.key):
            return utterance
    raise UsageError("no such held-out utterance", key, f"one of {', '.join(u.key for u in utterances[:5])}, …")


def history(run: Path) -> dict[str, np.ndarray]:
    """{name: (N, 2) of step and value} of what the run logged; nothing where it has no metrics.csv."""
    return read_run(run) if (run / "metrics.csv").is_file() else {}
