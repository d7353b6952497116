"""Speech put together of parts: nothing clicks, nothing that is heard is lost."""

from __future__ import annotations

import math

import torch

from vocolab.audio import followed, trimmed

RATE = 16000


def tone(seconds: float, level: float = 0.5) -> torch.Tensor:
    return level * torch.sin(2 * math.pi * 200 * torch.arange(round(seconds * RATE)) / RATE + 1)  # begins with a step


def test_silence_at_the_ends_goes_and_both_ends_are_silent():
    noise = 1e-4 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    found = trimmed(torch.cat([noise, tone(1.0), noise]), RATE)
    assert abs(len(found) / RATE - 1.1) <= 0.021  # the tone and 0.05 s on both sides
    assert found[0] == found[-1] == 0
    middle = found[1200:-1200]
    assert middle.abs().max() > 0.49


def test_what_begins_at_once_begins_without_a_step():
    wav = tone(0.5)
    found = trimmed(wav, RATE)
    assert len(found) == len(wav) and wav[0] > 0.4
    assert found[0] == 0 and found.diff().abs().max() <= wav.diff().abs().max() + 0.01
    assert torch.equal(found[400:-400], wav[400:-400]) and wav[0] > 0.4  # the input is left as it was


def test_a_pause_inside_stays():
    wav = torch.cat([tone(0.3), torch.zeros(RATE), tone(0.3)])
    assert len(trimmed(wav, RATE)) == len(wav)


def test_quiet_speech_is_trimmed_by_its_own_level():
    assert len(trimmed(torch.cat([torch.zeros(RATE), tone(0.5, 0.002)]), RATE)) == round(0.55 * RATE)


def test_silence_has_nothing_left():
    assert len(trimmed(torch.zeros(100), RATE)) == len(trimmed(torch.zeros(0), RATE)) == 0


def test_a_pause_is_silent_and_as_long_as_said():
    found = followed(tone(0.1), RATE, 0.25)
    assert len(found) == round(0.35 * RATE) and not found[round(0.1 * RATE) :].any()
