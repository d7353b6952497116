"""What every vocoder promises (vocoders/base.py), held for each of them; see tests/contract.py for one of your own."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor

from vocolab.errors import VocolabError
from vocolab.parts import build, describe
from vocolab.vocoders import BigVGAN, HiFiGAN, LayerWeights, Vocoder, Vocos

BASE = Vocoder
TINY = {"in_channels": 6, "projection": 16, "channels": 32}
HIFIGAN = {
    "v1": {},
    "v3": {
        "upsample_rates": (8, 8, 4),
        "upsample_kernels": (16, 16, 8),
        "resblock": 2,
        "resblock_kernels": (3, 5, 7),
        "resblock_dilations": ((1, 2), (2, 6), (3, 12)),
    },
    "mel 22.05 kHz": {"projection": None, "upsample_rates": (8, 8, 2, 2), "upsample_kernels": (16, 16, 4, 4)},
    "odd rates": {"upsample_rates": (5, 3), "upsample_kernels": (11, 7)},
}
PARTS = {f"HiFiGAN {name}": lambda _, sizes=sizes: HiFiGAN(**TINY | sizes) for name, sizes in HIFIGAN.items()}
BIGVGAN = {
    "v1": {"upsample_rates": (5, 4, 2), "upsample_kernels": (11, 8, 4)},
    "v2 on mels": {
        "projection": None,
        "upsample_rates": (4, 2),
        "upsample_kernels": (8, 4),
        "final_tanh": False,
        "final_bias": False,
    },
    "Snake": {"upsample_rates": (3, 2), "upsample_kernels": (7, 4), "activation": "snake"},
}
PARTS |= {f"BigVGAN {name}": lambda _, sizes=sizes: BigVGAN(**TINY | sizes) for name, sizes in BIGVGAN.items()}
PARTS |= {"Vocos": lambda _: Vocos(in_channels=6, dim=16, blocks=2, hidden=24)}
PARTS |= {"Vocos 22.05 kHz": lambda _: Vocos(6, 16, 1, 24, n_fft=1323, hop=441, sample_rate=22050)}
PARTS |= {"LayerWeights": lambda _: LayerWeights(HiFiGAN(**TINY), in_channels=18)}


def features(vocoder: Vocoder, batch: int, frames: int) -> Tensor:
    return 3 * torch.randn(batch, frames, vocoder.in_channels, generator=torch.Generator().manual_seed(frames))


def close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding, however quietly an untrained vocoder speaks."""
    return a.shape == b.shape and float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


@pytest.mark.parametrize("frames", [1, 2, 22, 101])
def test_frames_give_exactly_their_samples(make, frames):
    vocoder = make()
    wav = vocoder(features(vocoder, 3, frames))
    assert wav.shape == (3, frames * vocoder.hop) and wav.dtype == torch.float32
    assert wav.isfinite().all() and 0 < wav.abs().max() <= 1
    assert isinstance(vocoder.sample_rate, int) and vocoder.context >= 0


@torch.no_grad()
def test_a_row_knows_nothing_of_the_others_and_is_the_same_each_time(make):
    vocoder = make()
    feats = features(vocoder, 3, 9)
    whole = vocoder(feats)
    assert torch.equal(vocoder(feats), whole)
    assert all(close(vocoder(feats[i : i + 1]), whole[i : i + 1]) for i in range(3))
    assert not torch.equal(whole[:1], whole[1:2])


@pytest.mark.parametrize("frames", [1, 7, 1000])
@torch.no_grad()
def test_chunked_is_the_whole(make, frames):
    vocoder = make()
    feats = features(vocoder, 2, 30)
    assert close(vocoder.chunked(feats, frames), vocoder(feats))


def test_chunks_need_a_frame(make):
    vocoder = make()
    with pytest.raises(VocolabError, match="at least 1"):
        vocoder.chunked(features(vocoder, 1, 3), 0)


def test_frames_beyond_its_context_decide_nothing(make):
    vocoder = make()
    length = 2 * vocoder.context + 5
    feats = features(vocoder, 1, length).requires_grad_()
    samples = vocoder(feats).view(length, vocoder.hop)
    (grad,) = torch.autograd.grad(samples[length // 2].square().sum(), feats)
    reached = grad[0].abs().sum(1).nonzero().flatten() - length // 2
    assert 0 in reached and reached.abs().max() <= vocoder.context


def test_every_weight_learns(make):
    vocoder = make().train()
    vocoder(features(vocoder, 2, 30)).square().mean().backward()
    still = [n for n, p in vocoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == [] and all(p.grad.isfinite().all() for p in vocoder.parameters())


@torch.no_grad()
def test_folding_keeps_the_numbers(make):
    vocoder = make()
    feats = features(vocoder, 1, 9)
    before = vocoder(feats)
    folded = copy.deepcopy(vocoder).fold()
    assert isinstance(folded, Vocoder) and close(folded(feats), before)
    assert torch.equal(vocoder(feats), before), "folding a copy must leave the original alone"


@torch.no_grad()
def test_a_description_rebuilds_it(make):
    vocoder = make()
    described = describe(vocoder)
    again = build(json.loads(json.dumps(described)), Vocoder).eval()  # as a checkpoint or an export keeps it
    again.load_state_dict(vocoder.state_dict())
    assert describe(again) == described
    assert (again.in_channels, again.hop, again.sample_rate) == (vocoder.in_channels, vocoder.hop, vocoder.sample_rate)
    feats = features(vocoder, 1, 5)
    assert torch.equal(again(feats), vocoder(feats))


@torch.no_grad()
def test_all_of_it_follows_to_another_dtype(make):
    vocoder = make()
    feats = features(vocoder, 1, 5)
    expected = vocoder(feats)
    wav = vocoder.double()(feats.double())
    assert wav.dtype == torch.float64 and close(wav.float(), expected)


@pytest.mark.gpu
@torch.no_grad()
def test_on_a_gpu(make):
    vocoder = make()
    feats = features(vocoder, 2, 30)
    expected = vocoder(feats)
    difference = vocoder.to("cuda")(feats.to("cuda")).cpu() - expected
    assert difference.abs().max() < 1e-2 * expected.abs().max()  # convolutions may round to TF32
