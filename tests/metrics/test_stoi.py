import math

import pytest
import torch

from vocolab import audio
from vocolab.metrics import mel_distance, stoi


def test_stoi_falls_with_noise(speech_file):
    wav, rate = audio.read(speech_file, 16000)
    torch.manual_seed(0)
    noise = torch.randn_like(wav) * wav.std()
    scores = [stoi(wav + level * noise, wav, rate) for level in (0, 0.3, 3)]
    assert scores[0] == pytest.approx(1.0, abs=1e-6)
    assert 1 > scores[1] > scores[2] > 0
    assert math.isnan(stoi(torch.zeros(16000), torch.zeros(16000), rate))


def test_speech_that_is_missing_counts(speech_file):
    """Frames are chosen by the recording: speech that stops half way loses half, however well the first half sounds."""
    wav, rate = audio.read(speech_file, 16000)
    half = wav.clone()
    half[len(wav) // 2 :] = 0
    assert stoi(half, wav, rate) == pytest.approx(0.5, abs=0.1)
    assert stoi(wav, half, rate) > 0.9  # what is added in pauses does not
    assert stoi(wav / 2, wav, rate) == pytest.approx(1, abs=1e-6)  # nor does the loudness


def test_mel_distance_counts_real_frames_alone():
    mel, reference = torch.zeros(2, 80, 10), torch.ones(2, 80, 12)
    mel[1, :, 4:] = 100  # padding
    distance, frames = mel_distance(mel, reference, torch.tensor([10, 4]))
    assert (float(distance), int(frames)) == (1.0, 14)
