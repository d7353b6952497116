"""Loudness as torchaudio measures it, and nothing unbounded where there is nothing to measure."""

from __future__ import annotations

import math

import pytest
import torch

from vocolab import _compat, audio


@pytest.mark.parametrize("rate", [16000, 24000])
def test_loudness_is_torchaudios(speech_file, rate):
    wav, _ = audio.read(speech_file, rate)
    # Quiet enough that torchaudio's filters, which clip at ±1, do not; with a pause, so that the gates matter.
    wav = torch.cat([0.3 * wav[:rate], torch.zeros(rate), 0.02 * wav[rate : 2 * rate]])
    expected = _compat.torchaudio().functional.loudness(wav[None], rate).item()
    assert audio.loudness(wav, rate) == pytest.approx(expected, abs=1e-3)


def test_the_standards_own_reference():
    """BS.1770-4: a full-scale sine of 997 Hz in one channel measures −3.01 LKFS."""
    t = torch.arange(48000 * 3) / 48000
    assert audio.loudness(torch.sin(2 * math.pi * 997 * t), 48000) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("target", [-16.0, -30.0])
def test_normalisation_reaches_its_target(speech_file, target):
    wav, rate = audio.read(speech_file)
    scaled = audio.normalize_loudness(wav, rate, target)
    assert audio.loudness(scaled, rate) == pytest.approx(target, abs=1e-3)
    ratio = scaled[wav.abs() > 0.05] / wav[wav.abs() > 0.05]
    assert ratio.std() < 1e-4 * ratio.mean()  # a gain, no limiter


@pytest.mark.parametrize("wav", [torch.zeros(16000), torch.zeros(0), torch.full((16000,), 1e-9), torch.randn(3000)])
def test_what_cannot_be_measured_comes_back_unchanged(wav):
    assert audio.loudness(wav, 16000) == -math.inf
    assert torch.equal(audio.normalize_loudness(wav, 16000, -16.0), wav)


def test_trimming_removes_silence_at_both_ends_and_keeps_speech(speech_file):
    wav, rate = audio.read(speech_file)
    noise = 1e-4 * torch.randn(3 * rate, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([noise, wav, noise])
    trimmed = audio.trim_silence(padded, rate, 7)
    assert trimmed.ndim == 1 and 0.5 * len(wav) < len(trimmed) < len(wav) + rate
    assert audio.trim_silence(padded, rate, 0) is padded
    functional = _compat.torchaudio().functional
    front = functional.vad(padded, rate, trigger_level=7)
    assert len(front) < len(padded) - rate
    assert torch.equal(trimmed, functional.vad(front.flip(-1), rate, trigger_level=7).flip(-1))


@pytest.mark.parametrize("samples", [0, 300, 3200, 32000])
def test_where_no_voice_is_heard_nothing_is_trimmed(samples):
    wav = torch.zeros(samples)
    assert torch.equal(audio.trim_silence(wav, 16000, 7), wav)
