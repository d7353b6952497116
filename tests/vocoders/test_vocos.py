"""The inverse-STFT vocoder and its transform."""

from __future__ import annotations

import pytest
import torch

from vocolab import audio
from vocolab.audio.stft import inverse_stft, overlap_add, spectrogram
from vocolab.errors import UsageError
from vocolab.vocoders import Vocos

TINY = {"in_channels": 6, "dim": 16, "blocks": 2, "hidden": 24}


@pytest.mark.parametrize(("n_fft", "hop"), [(1280, 320), (1024, 256), (960, 320), (64, 32)])
def test_inverse_stft_restores_speech(speech_file, n_fft, hop):
    """The frames of real speech, transformed and inverted, are the speech again, to the last sample."""
    wav, _ = audio.read(speech_file)
    frames = len(wav) // hop
    wav = wav[: frames * hop][None]
    window, trim = torch.hann_window(n_fft), (n_fft - hop) // 2
    padded = torch.nn.functional.pad(wav, (trim, trim))
    spectrum = torch.fft.rfft(padded.unfold(-1, n_fft, hop) * window)
    assert spectrum.shape[1] == frames
    restored = inverse_stft(spectrum, window, hop)
    assert restored.shape == wav.shape
    assert wav.abs().max() > 0.1
    assert torch.allclose(restored, wav, atol=1e-5)


def test_overlap_add_is_the_plain_sum():
    frames, expected = torch.randn(2, 5, 12), torch.zeros(2, 28)
    for i in range(5):
        expected[:, 4 * i : 4 * i + 12] += frames[:, i]
    assert torch.allclose(overlap_add(frames, 4), expected, atol=1e-6)


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 320), (512, 50), (2048, 240)])
def test_spectrogram_is_torchs(n_fft, hop):
    wav, window = torch.randn(2, 7040), torch.hann_window(n_fft)
    expected = torch.stft(wav, n_fft, hop, window=window, pad_mode="reflect", return_complex=True).abs()
    assert torch.allclose(spectrogram(wav, window, hop), expected.transpose(1, 2), atol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop"), [(16, 4), (16, 5), (12, 12)])
def test_spectrogram_gradient(n_fft, hop):
    """Its own backward against numerical differentiation, in double precision."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    wav = torch.randn(2, 50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: spectrogram(x, window, hop), wav)


@pytest.mark.parametrize(("n_fft", "hop", "kernel"), [(1280, 320, 7), (640, 320, 3), (1024, 256, 5)])
def test_context_is_the_exact_reach(n_fft, hop, kernel):
    """A frame changes samples `context` frames away and none further."""
    torch.manual_seed(0)
    vocoder = Vocos(**TINY, n_fft=n_fft, hop=hop, kernel=kernel).double()
    for layer in vocoder.layers:
        layer.scale.data.fill_(1.0)
    length = 2 * vocoder.context + 5
    feats = torch.randn(1, length, 6, dtype=torch.float64, requires_grad=True)
    middle = length // 2
    wav = vocoder(feats).view(length, hop)
    (grad,) = torch.autograd.grad(wav[middle].square().sum(), feats)
    touched = grad[0].abs().sum(1).nonzero().flatten()
    assert (middle - touched.min().item(), touched.max().item() - middle) == (vocoder.context, vocoder.context)


@pytest.mark.parametrize("sizes", [{"hop": 300}, {"n_fft": 320}, {"n_fft": 963, "hop": 321, "kernel": 6}])
def test_sizes_that_do_not_fit_are_one_line(sizes):
    with pytest.raises(UsageError, match="does not fit|even") as error:
        Vocos(**{**TINY, **sizes})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [0, 2, 9, 22])  # of the last three, a magnitude is 0 if it is not kept above
def test_a_wild_frame_stays_bounded_and_differentiable(seed):
    torch.manual_seed(seed)
    vocoder = Vocos(**TINY)
    vocoder.head.weight.data *= 1e4
    wav = vocoder(torch.randn(1, 8, 6))
    wav.sum().backward()
    assert wav.isfinite().all() and wav.abs().max() <= 1
    assert all(p.grad.isfinite().all() for p in vocoder.parameters())
