"""Speech at another speed: its length changes, its pitch does not."""

from __future__ import annotations

import math

import pytest
import torch

from tests.pipelines import tiny
from vocolab import audio
from vocolab.audio import at_speed
from vocolab.errors import UsageError

RATE = 16000


def pitch(wav: torch.Tensor) -> float:
    """The median fundamental frequency in Hz of the voiced windows of wav (T,), by autocorrelation."""
    found = []
    for frame in wav.double().unfold(0, 1024, 512):
        frame = frame - frame.mean()
        spectrum = torch.fft.rfft(frame * torch.hann_window(1024, dtype=torch.double), 2048)
        likeness = torch.fft.irfft(spectrum.abs().square())
        lags = likeness[RATE // 400 : RATE // 70]
        if lags.max() > 0.5 * likeness[0]:
            found.append(RATE / (int(lags.argmax()) + RATE // 400))
    assert len(found) > 10
    return float(torch.tensor(found).median())


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_the_length_changes_and_the_pitch_does_not(speed):
    for wav in (audio.read(tiny.OTHER[0], RATE)[0], audio.read(tiny.SPEECH[0], RATE)[0]):
        found = at_speed(wav, RATE, speed)
        assert len(found) == round(len(wav) / speed)
        assert pitch(found) == pytest.approx(pitch(wav), rel=0.05)
        assert found.square().mean().sqrt() == pytest.approx(float(wav.square().mean().sqrt()), rel=0.15)


@pytest.mark.parametrize("speed", [0.5, 0.75, 1.5, 2.0])
def test_a_tone_goes_on_across_the_seams(speed):
    """A seam out of phase would show as a beat: the level of a window would fall."""
    wav = torch.sin(2 * math.pi * 110 * torch.arange(RATE) / RATE)
    found = at_speed(wav, RATE, speed)[1000:-1000]
    level = found.unfold(0, 320, 160).square().mean(1).sqrt()
    assert level.min() > 0.9 * 0.5**0.5 and level.max() < 1.1 * 0.5**0.5


def test_the_beginning_and_the_end_stay_where_they_are():
    wav = torch.zeros(RATE)
    wav[4000:12000] = torch.sin(2 * math.pi * 150 * torch.arange(8000) / RATE)
    loud = (at_speed(wav, RATE, 1.6).abs() > 0.05).nonzero()[:, 0]
    assert abs(int(loud[0]) - 4000 / 1.6) < 300 and abs(int(loud[-1]) - 12000 / 1.6) < 300


def test_at_1_nothing_is_done():
    wav = torch.randn(1000)
    assert at_speed(wav, RATE, 1.0) is wav


def test_little_and_silence():
    assert len(at_speed(torch.ones(5), RATE, 2.0)) == round(5 / 2.0)
    assert not at_speed(torch.zeros(8000), RATE, 0.7).any() and len(at_speed(torch.zeros(0), RATE, 0.7)) == 0


@pytest.mark.parametrize("speed", [0.49, 2.01, 0.0, -1.0, math.nan, math.inf])
def test_speeds_that_will_not_do(speed):
    with pytest.raises(UsageError, match="^a speed of .*: --speed: give 0.5 to 2; 1 is as the model speaks$"):
        at_speed(torch.zeros(100), RATE, speed)
