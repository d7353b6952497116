"""What is evaluated: utterances, each with the way to make or read its speech."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass
class Made:
    """The speech of one utterance."""

    wav: Tensor  # (T,)
    rate: int  # Hz
    took: float | None = None  # s of computing, where a model made it
    note: str = ""  # what is to be said of it
    stopped: bool | None = None  # whether a language model stopped by itself


@dataclass(frozen=True)
class Sample:
    """One utterance. What is not known of it is None."""

    key: str  # unique in an evaluation
    make: Callable[[], Made]
    task: str = ""  # what a model does here, where it does several things; part of the figures' names
    path: Path | None = None  # the file, where it is there already; otherwise the speech is kept with the results
    reference: Path | None = None  # a recording of the same words
    text: str | None = None
    language: str = ""
    voice: str | None = None  # whose voice it should be, one of `Subject.voices`
    prompt: Path | None = None  # a recording of that voice, other words
    source_voice: str | None = None  # whose it was before a conversion


@dataclass(frozen=True)
class Subject:
    """All that is evaluated in one go."""

    samples: Sequence[Sample]
    rate: int  # Hz, at which speech and references are compared
    identity: Mapping[str, Any]  # what decides the figures, beside the metrics
    voices: Mapping[str, Sequence[Path]] = field(default_factory=dict)  # recordings of each voice
    notes: Sequence[str] = ()  # what is to be said before the work begins
