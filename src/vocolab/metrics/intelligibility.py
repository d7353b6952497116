"""Short-time objective intelligibility."""

from __future__ import annotations

import math
import warnings

from torch import Tensor

from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured

SHORTEST = 0.3968  # s: 30 frames of 25.6 ms, 12.8 ms apart


def stoi(wav: Tensor, reference: Tensor, sample_rate: int) -> float:
    """STOI of `wav` (T,) against `reference` (T,), from 0 to 1 (Taal et al. 2011). NaN where less than 30 frames of
    speech are found, as in silence.
    """
    from pystoi import stoi as measure

    length = min(len(wav), len(reference))
    if length < SHORTEST * sample_rate or not reference[:length].any():  # pystoi raises where there is no frame at all
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # pystoi warns and returns 1e-5 where it finds too little speech
        try:
            return float(measure(reference[:length].double().numpy(), wav[:length].double().numpy(), sample_rate))
        except RuntimeWarning:
            return float("nan")


class STOI(Metric):
    """How much of the speech can be understood, by the correlation of its bands' envelopes with the reference's."""

    name, title, unit, better = "stoi", "intelligibility by the bands' envelopes (STOI)", "0 to 1", "up"
    source = "Taal et al. 2011, An Algorithm for Intelligibility Prediction; package pystoi"

    def measure(self, heard: Heard) -> Numbers:
        score = stoi(*heard.aligned(heard.rate), heard.rate)
        if math.isnan(score):
            raise Unmeasured("less than 0.4 s of speech in the reference")
        return score, 1.0
