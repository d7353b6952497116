"""Where a recording is silent, and silencing another waveform there."""

from __future__ import annotations

import math

import pytest
import torch

from vocolab import audio

RATE = 16000


def noise(seconds: float, level: float) -> torch.Tensor:
    """Noise whose root mean square lies at `level` dB."""
    return 10 ** (level / 20) * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def recording(*pauses: torch.Tensor, speech: float = -20) -> torch.Tensor:
    """A second of sound, and another after each pause."""
    pieces = [noise(1, speech)]
    for pause in pauses:
        pieces += [pause, noise(1, speech)]
    return torch.cat(pieces)


@pytest.mark.parametrize("pause", [torch.zeros(2 * RATE), torch.full((2 * RATE,), 0.01), noise(2, -75)])
def test_a_long_silence_is_found_with_its_margins(pause):
    ((start, end),) = audio.silences(recording(pause), RATE)
    assert start == pytest.approx(1.1, abs=0.011) and end == pytest.approx(2.9, abs=0.011)


@pytest.mark.parametrize("pause", [torch.zeros(RATE // 2), noise(2, -50), noise(2, -65)])
def test_short_pauses_and_noise_are_no_silence(pause):
    assert audio.silences(recording(pause), RATE) == []


def test_a_quiet_recording_is_not_taken_for_silence():
    wav = recording(torch.zeros(2 * RATE), noise(2, -90), speech=-64)
    ((start, end),) = audio.silences(wav, RATE)
    assert start == pytest.approx(1.1, abs=0.011) and end == pytest.approx(2.9, abs=0.011)


def test_silence_at_the_ends_and_nothing_but_silence():
    wav = torch.cat([torch.zeros(RATE), noise(1, -20), torch.zeros(RATE)])
    (first, last) = audio.silences(wav, RATE)
    assert first == (0, pytest.approx(0.9)) and last == (pytest.approx(2.1), math.inf)
    assert audio.silences(torch.zeros(RATE), RATE) == [(0, math.inf)]


def test_the_threshold_is_a_parameter():
    wav = recording(noise(2, -75))
    assert audio.silences(wav, RATE, -50) != [] and audio.silences(wav, RATE, -80) == []


def test_a_gate_changes_nothing_outside_and_leaves_nothing_inside():
    wav = noise(4, -20)
    made = audio.gate(wav.clone(), RATE, [(1.0, 2.0), (3.0, math.inf)])
    assert torch.equal(made[:RATE], wav[:RATE]) and torch.equal(made[2 * RATE : 3 * RATE], wav[2 * RATE : 3 * RATE])
    fade = RATE // 50
    assert not made[RATE + fade : 2 * RATE - fade].any() and not made[3 * RATE + fade :].any()
    fading = made[RATE : RATE + fade].abs() <= wav[RATE : RATE + fade].abs()
    assert fading.all() and made[RATE : RATE + fade].any()


def test_a_gate_follows_stretched_speech():
    made = audio.gate(torch.ones(2 * RATE), RATE, [(0.0, 2.0)], stretch=0.5)
    assert not made[: RATE - RATE // 50].any() and made[RATE:].all()


def test_a_gate_where_the_waveform_ends_earlier():
    assert audio.gate(torch.ones(10), RATE, [(0.0, 1.0)])[:5].sum() == 0
    assert torch.equal(audio.gate(torch.ones(10), RATE, [(1.0, math.inf)]), torch.ones(10))
