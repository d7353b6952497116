"""Metrics that stand for listeners: the best score, and lower ones for noise."""

from __future__ import annotations

import pytest
import torch

from vocolab import _compat
from vocolab.metrics import Heard, Metric, Unmeasured
from vocolab.metrics.opinion import DNSMOS, PESQ, DistillMOS


def value(metric: Metric, wav: torch.Tensor, reference: torch.Tensor | None = None) -> float:
    metric.load()
    return metric.value(metric.measure(Heard(wav, 16000, reference)))


def noisy(speech: torch.Tensor, snr: float) -> torch.Tensor:
    noise = torch.randn(speech.shape, generator=torch.manual_seed(0))
    return speech + noise * speech.norm() / noise.norm() * 10 ** (-snr / 20)


def test_pesq(speech):
    pytest.importorskip("pesq")
    assert value(PESQ(), speech, speech) == pytest.approx(4.644, abs=1e-3)  # the most that P.862.2 gives
    scores = [value(PESQ(), noisy(speech, snr), speech) for snr in (40, 20, 0)]
    assert 4.6 > scores[0] > scores[1] > scores[2] > 1
    with pytest.raises(Unmeasured, match="no utterances detected|silence"):
        value(PESQ(), torch.zeros(16000), speech[:16000])
    with pytest.raises(Unmeasured, match="PESQ: "):
        value(PESQ(), speech[:2000], speech[:2000])
    with pytest.raises(Unmeasured, match="PESQ: "):
        value(PESQ(), speech * 1e-30, speech)


@pytest.mark.slow
@pytest.mark.parametrize("metric, package", [(DNSMOS(), "speechmos"), (DistillMOS(), "distillmos")])
def test_networks_that_hear_speech_alone(speech, metric, package):
    _compat.torchaudio()  # distillmos imports it
    pytest.importorskip(package)
    clean, poor = value(metric, speech), value(metric, noisy(speech, 0))
    assert 5 > clean > poor + 0.5 and poor > 1
    with pytest.raises(Unmeasured, match="silence"):
        value(metric, torch.zeros(16000))
