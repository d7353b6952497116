"""Waveforms from outside: what is taken as it was meant, and what is refused in one line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vocolab import audio
from vocolab.audio.waveform import LIMIT, as_waveform, to_float
from vocolab.errors import VocolabError

TONE = 0.5 * torch.sin(2 * math.pi * 440 * torch.arange(1600) / 16000)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "tolerance"),
    [
        (torch.int16, 32768, 0, 2e-5),
        (torch.int32, 2**31, 0, 1e-7),
        (torch.int8, 128, 0, 5e-3),
        (torch.uint8, 128, 128, 5e-3),
        (torch.float64, 1, 0, 1e-7),
        (torch.float16, 1, 0, 1e-3),
    ],
)
@pytest.mark.parametrize("numpy", [False, True])
def test_types_are_scaled_to_full_scale_1(dtype, scale, offset, tolerance, numpy):
    given = TONE.double() * scale + offset
    given = (given if dtype.is_floating_point else given.round()).to(dtype)
    found = as_waveform(given.numpy() if numpy else given)
    assert found.dtype == torch.float32 and found.shape == TONE.shape
    torch.testing.assert_close(found, TONE, atol=tolerance, rtol=0)


def test_full_scale_of_the_integers():
    assert to_float(torch.tensor([-32768, 0, 16384], dtype=torch.int16)).tolist() == [-1, 0, 0.5]
    assert to_float(torch.tensor([0, 128, 192], dtype=torch.uint8)).tolist() == [-1, 0, 0.5]
    assert to_float(torch.tensor([-128, 64], dtype=torch.int8)).tolist() == [-1, 0.5]
    assert to_float(torch.tensor([-(2**31), 2**30], dtype=torch.int32)).tolist() == [-1, 0.5]


def test_shapes_arrays_and_gradients():
    for given in (TONE[None], TONE.numpy(), TONE.numpy()[None], TONE.clone().requires_grad_()):
        found = as_waveform(given)
        assert torch.equal(found, TONE) and not found.requires_grad
    backwards, foreign = TONE.numpy()[::-1], TONE.numpy().astype(">f4")
    assert torch.equal(as_waveform(backwards), TONE.flip(0)) and torch.equal(as_waveform(foreign), TONE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(0), "no samples: waveform"),
        (torch.zeros(1, 0), "no samples"),
        (np.zeros(0, np.int16), "no samples"),
        (torch.zeros(2, 500), r"shape \(2, 500\): waveform: give one channel"),
        (torch.zeros(500, 2), r"shape \(500, 2\)"),
        (torch.zeros(1, 1, 500), r"shape \(1, 1, 500\)"),
        (torch.tensor(0.5), r"shape \(\)"),
        (torch.tensor([0.0, math.nan]), "not finite: waveform"),
        (torch.tensor([0.0, -math.inf]), "not finite"),
        (np.array([0.0, math.inf]), "not finite"),
        (torch.tensor([0, 5]), "type int64"),
        (np.zeros(5, np.uint16), "type uint16"),
        (torch.zeros(5, dtype=torch.bool), "type bool"),
        (torch.zeros(5, dtype=torch.complex64), "type complex64"),
        (np.array(["a"]), "type <U1"),
        ([0.0, 0.1], "speech of type list: waveform: give a path"),
        (None, "speech of type NoneType"),
        (TONE * 32768, "far beyond ±1: integers stored as floats: waveform: divide"),
        (-TONE[:15] * 20, "samples as large as .*far beyond"),
        (np.array([9.0]), "as large as 9, far beyond"),
    ],
)
def test_what_will_not_do_is_one_line(given, message):
    with pytest.raises(VocolabError, match=message) as raised:
        as_waveform(given)
    assert "\n" not in str(raised.value)


def test_the_limit_itself_is_taken():
    assert as_waveform(torch.tensor([LIMIT, -LIMIT])).tolist() == [LIMIT, -LIMIT]


def test_loading_a_file_or_a_waveform(speech_file):
    wav, rate = audio.read(speech_file)
    assert torch.equal(audio.load(speech_file, rate), wav) and torch.equal(audio.load(str(speech_file), rate), wav)
    assert torch.equal(audio.load(wav, rate), wav) and torch.equal(audio.load(wav[None], rate, rate), wav)
    low = audio.load((wav * 32768).round().clamp(-32768, 32767).short(), 8000, given_rate=rate)
    torch.testing.assert_close(low, audio.resample(wav, rate, 8000), atol=1e-4, rtol=0)
    for bad in (0, -8000):
        with pytest.raises(VocolabError, match=f"sample rate of {bad} Hz"):
            audio.load(wav, rate, given_rate=bad)


def test_functions_of_sound_scale_integers_too(speech_file):
    wav, rate = audio.read(speech_file)
    pcm = (wav * 32768).round().clamp(-32768, 32767).short()
    torch.testing.assert_close(audio.resample(pcm, rate, 8000), audio.resample(wav, rate, 8000), atol=1e-4, rtol=0)
    torch.testing.assert_close(audio.log_mel(pcm), audio.log_mel(pcm / 32768))
    assert audio.loudness(pcm, rate) == pytest.approx(audio.loudness(wav, rate), abs=0.01)
