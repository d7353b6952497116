"""Which upsampling rates are suggested for a hop."""

from __future__ import annotations

import math

import pytest

from vocolab.vocoders import BigVGAN, HiFiGAN, Vocos
from vocolab.vocoders.upsampling import stages, suggest, usual_kernel


@pytest.mark.parametrize(
    ("hop", "rates"),
    [
        (320, [10, 8, 2, 2]),  # the published ones of HiFi-GAN behind WavLM
        (256, [8, 8, 2, 2]),  # of HiFi-GAN on mels
        (441, [7, 7, 3, 3]),  # 22.05 kHz
        (480, [10, 8, 3, 2]),  # 24 kHz
        (882, [7, 7, 3, 3, 2]),  # 44.1 kHz
        (960, [10, 8, 4, 3]),  # 48 kHz
        (160, [10, 4, 2, 2]),
        (2, [2]),
        (37, []),
    ],
)
def test_the_rates_for_a_hop(hop, rates):
    assert stages(hop) == rates


@pytest.mark.parametrize("kind", [HiFiGAN, BigVGAN])
@pytest.mark.parametrize("hop", [160, 240, 256, 320, 441, 480, 640, 882, 960])
def test_what_is_suggested_can_be_built(kind, hop):
    rates = stages(hop)
    assert math.prod(rates) == hop
    vocoder = kind(4, 4, 64, rates, [usual_kernel(rate) for rate in rates], hop=hop)
    assert str(rates) in vocoder.fitting(hop)


@pytest.mark.parametrize("hop", [160, 441, 480, 882, 960])
def test_an_inverse_stft_suggests_what_can_be_built(hop):
    n_fft = int(Vocos(4, 8, 1, 8).fitting(hop).rpartition(" ")[2])
    assert Vocos(4, 8, 1, 8, n_fft=n_fft, hop=hop).hop == hop


def test_a_hop_without_factors_says_so():
    assert suggest(37) == "37 has no small factors to upsample by: choose another sample_rate"
