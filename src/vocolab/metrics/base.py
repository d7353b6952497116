"""What a metric is: a name, a unit, a direction and its source, and two steps. `measure` makes a few numbers of one
utterance, `pool` makes one figure of the numbers of many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from vocolab import audio

Numbers = tuple[float, ...]


class Unmeasured(Exception):
    """A metric cannot be measured on this utterance; the message says why."""


@dataclass(eq=False)
class Heard:
    """One utterance to be measured. What is not known of it is None."""

    wav: Tensor  # (T,)
    rate: int  # Hz, of `reference` too
    reference: Tensor | None = None  # (T',): a recording of the same words
    text: str | None = None
    language: str = ""
    voice: str | None = None  # whose voice it should be
    prompt: Tensor | None = None  # (T'',): a recording of that voice, other words
    source_voice: str | None = None  # whose it was before a conversion
    took: float | None = None  # s of computing, where a model made it
    stopped: bool | None = None  # whether a language model stopped by itself
    _resampled: dict[tuple[str, int], Tensor] = field(default_factory=dict, repr=False)

    @property
    def seconds(self) -> float:
        return len(self.wav) / self.rate

    def at(self, rate: int) -> Tensor:
        """The speech (T,) at `rate` Hz."""
        return self._at("wav", self.wav, rate)

    def reference_at(self, rate: int) -> Tensor:
        """The reference (T,) at `rate` Hz."""
        return self._at("reference", self._reference(), rate)

    def likeness_at(self, rate: int) -> Tensor:
        """A recording (T,) of the voice that it should have, at `rate` Hz: the prompt, or else the reference."""
        return self.reference_at(rate) if self.prompt is None else self._at("prompt", self.prompt, rate)

    def aligned(self, rate: int) -> tuple[Tensor, Tensor]:
        """Speech and reference (T,) at `rate` Hz, the longer one cut, for metrics that compare moment by moment.

        Raises `Unmeasured` where their lengths differ by more than a tenth: they do not say the same at the same time.
        """
        wav, reference = self.at(rate), self.reference_at(rate)
        shorter, longer = sorted((len(wav), len(reference)))
        if longer - shorter > SLACK * longer + SLACK_SECONDS * rate:
            raise Unmeasured("its length is not that of the reference")
        return wav[:shorter], reference[:shorter]

    def _reference(self) -> Tensor:
        if self.reference is None:
            raise Unmeasured("there is no reference")
        return self.reference

    def _at(self, name: str, wav: Tensor, rate: int) -> Tensor:
        if (name, rate) not in self._resampled:
            self._resampled[name, rate] = audio.resample(wav, self.rate, rate)
        return self._resampled[name, rate]


SLACK = 0.1  # of the length
SLACK_SECONDS = 0.05  # a vocoder's or a codec's frame or two


class Metric(ABC):
    """One figure. `measure` gives (x, 1), or (x, w) where long utterances count for more, as in an error rate; the
    figure of many is Σx / Σw.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # in plain words
    unit: ClassVar[str]
    better: ClassVar[Literal["up", "down"]]
    source: ClassVar[str]  # paper and section, or the package whose definition it is
    tasks: ClassVar[tuple[str, ...]] = ()  # those it says something of, see `evaluation.Sample.task`; none: all

    def load(self) -> None:  # noqa: B027 (most have nothing to load)
        """Import and read what is needed. Raises `VocolabError` where a package or a file is missing."""

    def about(self) -> dict[str, str]:
        """Which models judge, and the digests of their weights, for the results."""
        return {}

    def fits(self, task: str) -> bool:
        """Whether it says something of what does `task`."""
        return not self.tasks or task in self.tasks

    @abstractmethod
    def measure(self, heard: Heard) -> Numbers:
        """The numbers of one utterance. Raises `Unmeasured` where it has none."""

    def value(self, numbers: Numbers) -> float:
        """What is said of one utterance."""
        return numbers[0] / numbers[1]

    def pool(self, numbers: np.ndarray) -> float:
        """The figure of many utterances, of their numbers (N, k)."""
        totals = numbers.sum(0)
        return float(totals[0] / totals[1])


def measure(heard: Heard, metrics: Sequence[Metric]) -> tuple[dict[str, list[float]], dict[str, str]]:
    """What each metric, by its name, measures of an utterance, and why others cannot be measured."""
    numbers: dict[str, list[float]] = {}
    unmeasured: dict[str, str] = {}
    for metric in metrics:
        try:
            numbers[metric.name] = [float(number) for number in metric.measure(heard)]
        except Unmeasured as why:
            unmeasured[metric.name] = str(why)
    return numbers, unmeasured
