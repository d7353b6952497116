"""Short-time objective intelligibility."""

from __future__ import annotations

import warnings

from torch import Tensor


def stoi(wav: Tensor, reference: Tensor, sample_rate: int) -> float:
    """STOI of `wav` (T,) against `reference` (T,), from 0 to 1 (Taal et al. 2011). NaN where less than 30 frames of
    speech are found, as in silence.
    """
    from pystoi import stoi as measure

    length = min(len(wav), len(reference))
    if not reference[:length].any():
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # pystoi warns and returns 1e-5 where it finds too little speech
        try:
            return float(measure(reference[:length].double().numpy(), wav[:length].double().numpy(), sample_rate))
        except RuntimeWarning:
            return float("nan")
