"""Durations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vocolab.metrics import Heard, Unmeasured
from vocolab.metrics.timing import DurationRatio, RealTimeFactor


def test_too_long_and_too_short_do_not_make_up_for_each_other():
    half, whole = torch.ones(8000), torch.ones(16000)
    assert DurationRatio().measure(Heard(half, 16000, whole))[0] == 2
    assert DurationRatio().measure(Heard(whole, 16000, half))[0] == 2
    assert DurationRatio().measure(Heard(whole, 16000, whole))[0] == 1


def test_the_real_time_factor_is_of_all_speech_together():
    numbers = [RealTimeFactor().measure(Heard(torch.ones(16000 * s), 16000, took=t)) for s, t in ((1, 0.5), (9, 1.5))]
    assert RealTimeFactor().pool(np.array(numbers)) == pytest.approx(0.2)
    with pytest.raises(Unmeasured):
        RealTimeFactor().measure(Heard(torch.ones(16000), 16000))
