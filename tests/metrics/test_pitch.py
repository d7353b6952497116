"""Pitch, on sounds whose pitch is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vocolab.metrics import Heard, Metric, Unmeasured
from vocolab.metrics.pitch import F0Correlation, F0Error, Periodicity, PitchTracker, VoicingF1

pytest.importorskip("swift_f0")
SECONDS = np.arange(32000) / 16000
MELODY = 150 * 2 ** (np.sin(2 * np.pi * SECONDS) / 4)  # Hz: three semitones up and down


def sung(hz: np.ndarray) -> torch.Tensor:
    """A voice-like sound (T,) of this fundamental frequency (T,): harmonics that fall off."""
    phase = 2 * np.pi * np.cumsum(hz) / 16000
    return torch.from_numpy(sum(np.sin(h * phase) / h for h in range(1, 15)) / 8).float()


@pytest.fixture(scope="module")
def tracker() -> PitchTracker:
    found = PitchTracker()
    found.load()
    return found


def value(metric: Metric, wav: torch.Tensor, reference: torch.Tensor) -> float:
    return metric.value(metric.measure(Heard(wav, 16000, reference)))


@pytest.mark.parametrize("semitones", [0, 3, -5])
def test_a_shifted_pitch(tracker, semitones):
    shifted = sung(MELODY * 2 ** (semitones / 12))
    assert value(F0Error(tracker), shifted, sung(MELODY)) == pytest.approx(abs(semitones), abs=0.1)
    assert value(F0Correlation(tracker), shifted, sung(MELODY)) > 0.99


def test_a_melody_upside_down(tracker):
    assert value(F0Correlation(tracker), sung(150**2 / MELODY), sung(MELODY)) < -0.99


def test_a_second_half_that_is_not_voiced(tracker):
    half = sung(MELODY)
    half[16000:] = 0.02 * torch.randn(16000, generator=torch.manual_seed(0))
    assert value(VoicingF1(tracker), half, sung(MELODY)) == pytest.approx(2 / 3, abs=0.03)
    assert value(VoicingF1(tracker), sung(MELODY), sung(MELODY)) == 1
    assert value(Periodicity(tracker), sung(MELODY), sung(MELODY)) == 0
    assert 0.5 < value(Periodicity(tracker), half, sung(MELODY)) < 1


def test_what_has_no_pitch(tracker):
    noise = 0.1 * torch.randn(32000, generator=torch.manual_seed(0))
    with pytest.raises(Unmeasured, match="nowhere voiced together"):
        value(F0Error(tracker), noise, sung(MELODY))
    with pytest.raises(Unmeasured, match="nothing in the reference is voiced"):
        value(VoicingF1(tracker), sung(MELODY), torch.zeros(32000))
    with pytest.raises(Unmeasured, match="shorter than"):
        value(F0Error(tracker), noise[:1000], noise[:1000])


def test_it_is_found_once_for_all_metrics(tracker, monkeypatch):
    heard, counted = Heard(sung(MELODY), 16000, sung(MELODY)), []
    detect = tracker._detector.detect
    monkeypatch.setattr(tracker._detector, "detect", lambda *args: counted.append(1) or detect(*args))
    for metric in (F0Error(tracker), VoicingF1(tracker), Periodicity(tracker)):
        metric.measure(heard)
    assert len(counted) == 2
