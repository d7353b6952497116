"""Distances of spectra, where they are known: of nothing, of a gain, of sounds of known cepstra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vocolab.metrics import Heard, MelL1, Metric, MultiResolutionSTFT, Unmeasured
from vocolab.metrics.cepstral import MCD


def value(metric: Metric, wav: torch.Tensor, reference: torch.Tensor, rate: int = 16000) -> float:
    metric.load()
    return metric.value(metric.measure(Heard(wav, rate, reference)))


def test_half_as_loud():
    """ln 2 in every cell, and half of the spectrum is missing."""
    noise = torch.randn(16000, generator=torch.manual_seed(0)) / 4
    assert value(MelL1(), noise / 2, noise) == pytest.approx(math.log(2), abs=1e-4)
    assert value(MultiResolutionSTFT(), noise / 2, noise) == pytest.approx(0.5 + math.log(2), abs=1e-3)


def test_noise_at_a_known_ratio(speech):
    """The more noise, the farther; the same noise 20 dB below the speech adds a tenth of its spectrum."""
    noise = torch.randn(speech.shape, generator=torch.manual_seed(0))
    noise *= speech.norm() / noise.norm()
    for metric in (MelL1(), MultiResolutionSTFT()):
        distances = [value(metric, speech + 10 ** (-snr / 20) * noise, speech) for snr in (math.inf, 40, 20, 0)]
        assert distances == sorted(distances) and distances[0] == pytest.approx(0, abs=1e-5) and distances[-1] > 0.5


def test_it_is_torch_s_own_spectrum_at_each_resolution(speech):
    """Against the formulas written with numpy."""
    other = speech * 0.7 + 0.01
    found = value(MultiResolutionSTFT(), other, speech)
    parts = []
    for n_fft, hop, window in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        shape = np.zeros(n_fft)
        shape[(n_fft - window) // 2 :][:window] = np.hanning(window + 1)[:-1]
        spectra = []
        for wav in (speech, other):
            padded = np.pad(wav.double().numpy(), n_fft // 2, mode="reflect")
            frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop] * shape
            spectra.append(np.maximum(np.abs(np.fft.rfft(frames)), 1e-4))
        real, made = spectra
        parts.append(np.linalg.norm(real - made) / np.linalg.norm(real) + np.abs(np.log(real) - np.log(made)).mean())
    assert found == pytest.approx(np.mean(parts), rel=1e-3)


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
def test_any_rate(rate):
    noise = torch.randn(rate, generator=torch.manual_seed(0)) / 4
    assert value(MelL1(), noise / 2, noise, rate) == pytest.approx(math.log(2), abs=1e-3)


def test_the_mel_cepstral_distance_of_known_cepstra():
    """Two sounds that are the same in every frame: the distance is that of two vectors, whatever the alignment."""
    pytest.importorskip("mel_cepstral_distance")
    period, length = 128, 4000  # the hop of 8 ms
    cycle = torch.randn(2, period, generator=torch.manual_seed(0))
    one, two = (c.repeat(length // period + 1)[:length] / 8 for c in cycle)

    def cepstrum(wav: torch.Tensor) -> np.ndarray:  # the README of the package, formula by formula
        frame = wav.double().numpy()[:512] / np.abs(wav.double().numpy()).max() * np.hanning(512)
        power = np.abs(np.fft.rfft(frame)) ** 2
        mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 22)
        edges = 700 * (10 ** (mels / 2595) - 1)
        hz = np.arange(257) * 16000 / 512
        triangles = [
            np.maximum(0, np.minimum((hz - a) / (b - a), (c - hz) / (c - b)))
            for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
        ]
        bels = np.log10(np.array(triangles) @ power)
        n = np.arange(1, 21)
        return np.array([(bels * np.cos(i * (n - 0.5) * np.pi / 20)).sum() for i in range(1, 17)])

    expected = np.linalg.norm(cepstrum(one) - cepstrum(two))
    assert value(MCD(), one, two) == pytest.approx(expected, rel=0.05)
    assert value(MCD(), one, one) == 0
    assert value(MCD(), one / 2, one) == pytest.approx(0, abs=1e-3)  # the loudness does not count


@pytest.mark.parametrize("metric", [MelL1(), MultiResolutionSTFT(), MCD()], ids=lambda m: m.name)
def test_too_short_for_a_window(metric):
    if metric.name == "mcd":
        pytest.importorskip("mel_cepstral_distance")
    with pytest.raises(Unmeasured, match="shorter than the metric's window"):
        value(metric, torch.ones(300) / 4, torch.ones(300) / 4)


def test_speech_out_of_step_is_not_compared_moment_by_moment(speech):
    with pytest.raises(Unmeasured, match="its length is not that of the reference"):
        value(MelL1(), speech[:30000], speech)
    assert value(MelL1(), speech[:-500], speech) == pytest.approx(0, abs=0.01)  # a frame or two
    with pytest.raises(Unmeasured, match="there is no reference"):
        MelL1().measure(Heard(speech, 16000))
