"""Which metrics are measured: those asked for, without those that cannot be had here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vocolab.errors import UsageError, VocolabError
from vocolab.metrics import STOI, MelL1, Metric, MultiResolutionSTFT
from vocolab.metrics.cepstral import MCD
from vocolab.metrics.opinion import DNSMOS, PESQ, DistillMOS
from vocolab.metrics.pitch import F0Correlation, F0Error, Periodicity, PitchTracker, VoicingF1
from vocolab.metrics.timing import DurationRatio, Ended, RealTimeFactor, Stopped
from vocolab.metrics.voices import (
    EER,
    NearestVoice,
    Resemblyzer,
    Similarity,
    SimilarityMargin,
    SpeakerEncoder,
    VoicePrints,
)
from vocolab.metrics.words import CER, WER, Recogniser


class Missing(NamedTuple):
    """What a metric lacks here, and how to get it."""

    what: str
    remedy: str


def all_metrics(
    voices: Mapping[str, Sequence[Path]] | None = None,
    recogniser: str = "",
    encoder: SpeakerEncoder | None = None,
    device: str = "cpu",
) -> list[Metric]:
    """Every metric, in the order of the table. `voices`: recordings of each that is known. `recogniser`: see
    `Recogniser`. `encoder`: of speakers, Resemblyzer by default.
    """
    pitch, words = PitchTracker(), Recogniser(recogniser, device)
    prints = VoicePrints(encoder or Resemblyzer(device), voices or {})
    return [
        *(MelL1(), MultiResolutionSTFT(), MCD(), PESQ(), STOI()),
        *(kind(pitch) for kind in (F0Error, F0Correlation, VoicingF1, Periodicity)),
        *(kind(words) for kind in (WER, CER)),
        *(kind(prints) for kind in (Similarity, SimilarityMargin, NearestVoice, EER)),
        *(DNSMOS(), DistillMOS(device), DurationRatio(), Stopped(), Ended(), RealTimeFactor()),
    ]


def choose(names: Sequence[str], known: Sequence[Metric]) -> tuple[list[Metric], dict[str, Missing]]:
    """The metrics of these names (none: all), loaded, and those left out, each with what is missing.

    Raises `UsageError` for a name that is none, `VocolabError` where none of them can be had.
    """
    chosen, left_out = available(named(names, known, "--metrics") or known)
    if not chosen:
        raise VocolabError("no metric can be measured", "--metrics", "; ".join(left_out_lines(left_out)))
    return chosen, left_out


def named(names: Sequence[str], known: Sequence[Metric], where: str) -> list[Metric]:
    """The metrics of these names. Raises `UsageError` for a name that is none; `where` says where it was given."""
    by_name = {metric.name: metric for metric in known}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, 1)
            remedy = f"did you mean {near[0]}?" if near else f"give some of {', '.join(by_name)}"
            raise UsageError(f"no such metric {name!r}", where, remedy)
    return [by_name[name] for name in dict.fromkeys(names)]


def available(metrics: Sequence[Metric]) -> tuple[list[Metric], dict[str, Missing]]:
    """Those of `metrics` that can be measured here, loaded, and what the others lack, by their names."""
    chosen: list[Metric] = []
    left_out: dict[str, Missing] = {}
    for metric in metrics:
        try:
            metric.load()
        except VocolabError as error:
            where = "" if error.where == metric.name else error.where
            left_out[metric.name] = Missing(": ".join(filter(None, (error.what, where))), error.remedy)
        except ImportError as error:  # of a package that one of ours needs, or that does not fit another
            left_out[metric.name] = Missing(str(error), "pip install 'vocolab[metrics]'")
        else:
            chosen.append(metric)
    return chosen, left_out


def left_out_lines(left_out: Mapping[str, Missing]) -> list[str]:
    """Which metrics are left out and why, a line for each remedy."""
    lines = []
    for remedy in dict.fromkeys(missing.remedy for missing in left_out.values()):
        names = [name for name, missing in left_out.items() if missing.remedy == remedy]
        lacking = dict.fromkeys(left_out[name].what for name in names)
        lines.append(f"{', '.join(names)} left out: {'; '.join(lacking)}: {remedy}")
    return lines
