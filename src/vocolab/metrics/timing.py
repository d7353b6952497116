"""Durations, of the speech and of making it."""

from __future__ import annotations

from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured

NOTHING = "nothing is said"  # as by a language model that ends at once


class DurationRatio(Metric):
    """The longer of speech and recording over the shorter: too long and too short do not make up for each other."""

    name, title, unit, better = "duration_ratio", "how many times too long or too short", "1 and above", "down"
    source = "max(T, T') / min(T, T')"

    def measure(self, heard: Heard) -> Numbers:
        shorter, longer = sorted((heard.seconds, len(heard.reference_at(heard.rate)) / heard.rate))
        if not shorter:
            raise Unmeasured(NOTHING)
        return longer / shorter, 1.0


class Ended(Metric):
    """The share of responses that a language model ended by itself where the recording ends, within a quarter."""

    name, title, unit, better = "ended", "how often the model stopped in time", "0 to 1", "up"
    source = "responses with an end at 3/4 to 5/4 of the recording's length / all responses"
    tasks = ("speech",)

    def measure(self, heard: Heard) -> Numbers:
        stopped = _stopped(heard)
        ratio = heard.seconds * heard.rate / len(heard.reference_at(heard.rate))
        return float(stopped and abs(ratio - 1) <= 0.25), 1.0


class RealTimeFactor(Metric):
    """Seconds of computing for a second of speech, of all utterances together."""

    name, title, unit, better = "rtf", "computing time of a second of speech (real-time factor)", "s/s", "down"
    source = "seconds of computing / seconds of speech"
    tasks = ("resynthesis", "conversion", "speech")

    def measure(self, heard: Heard) -> Numbers:
        if heard.took is None:
            raise Unmeasured("the speech was there already")
        if not heard.seconds:
            raise Unmeasured(NOTHING)
        return heard.took, heard.seconds


class Stopped(Metric):
    """The share of responses that a language model ended by itself, before the limit on their length."""

    name, title, unit, better = "stopped", "how often the model stopped by itself", "0 to 1", "up"
    source = "responses with an end / all responses"
    tasks = ("speech",)

    def measure(self, heard: Heard) -> Numbers:
        return float(_stopped(heard)), 1.0


def _stopped(heard: Heard) -> bool:
    if heard.stopped is None:
        raise Unmeasured("no language model speaks")
    return heard.stopped
