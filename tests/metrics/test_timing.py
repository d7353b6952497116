"""Durations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vocolab.metrics import Heard, Unmeasured
from vocolab.metrics.timing import DurationRatio, Ended, RealTimeFactor, Stopped


def test_too_long_and_too_short_do_not_make_up_for_each_other():
    half, whole = torch.ones(8000), torch.ones(16000)
    assert DurationRatio().measure(Heard(half, 16000, whole))[0] == 2
    assert DurationRatio().measure(Heard(whole, 16000, half))[0] == 2
    assert DurationRatio().measure(Heard(whole, 16000, whole))[0] == 1


def test_nothing_is_said():
    """A language model may end at once."""
    heard = Heard(torch.zeros(0), 16000, torch.ones(16000), took=0.1, stopped=True)
    for metric in (DurationRatio(), RealTimeFactor()):
        with pytest.raises(Unmeasured, match="nothing is said"):
            metric.measure(heard)
    assert Ended().measure(heard) == (0, 1) and Stopped().measure(heard) == (1, 1)


def test_the_real_time_factor_is_of_all_speech_together():
    numbers = [RealTimeFactor().measure(Heard(torch.ones(16000 * s), 16000, took=t)) for s, t in ((1, 0.5), (9, 1.5))]
    assert RealTimeFactor().pool(np.array(numbers)) == pytest.approx(0.2)
    with pytest.raises(Unmeasured):
        RealTimeFactor().measure(Heard(torch.ones(16000), 16000))


CASES = ((12000, True, 1), (20000, True, 1), (11900, True, 0), (20100, True, 0), (16000, False, 0))


def test_an_end_in_time():
    """Within a quarter of the recording's length, and by itself."""
    reference = torch.ones(16000)
    for samples, stopped, ended in CASES:
        heard = Heard(torch.ones(samples), 16000, reference, stopped=stopped)
        assert Ended().measure(heard) == (ended, 1) and Stopped().measure(heard) == (stopped, 1)
    for metric in (Ended(), Stopped()):
        with pytest.raises(Unmeasured, match="no language model speaks"):
            metric.measure(Heard(reference, 16000, reference))
