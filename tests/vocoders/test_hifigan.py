"""HiFi-GAN's generator against the official one."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.vocoders.golden import features, fill
from vocolab.errors import UsageError
from vocolab.vocoders import HiFiGAN

TINY = {"in_channels": 6, "projection": 16, "channels": 32}


def test_golden_values():
    generator = fill(HiFiGAN())
    with torch.no_grad():
        wav = generator(features())
    assert wav.shape == (1, 7040)
    assert wav.sum().item() == pytest.approx(-21.327673, abs=2e-4)
    assert wav.abs().mean().item() == pytest.approx(0.00319832, abs=1e-7)
    assert wav.std().item() == pytest.approx(0.00234738, abs=1e-7)
    expected = torch.tensor([-0.0152788, -0.0206401, -0.0031697, -0.0029770, -0.0038357])
    assert torch.allclose(wav[0, [0, 1, 319, 3520, 7039]], expected, atol=2e-7)


def test_it_starts_with_the_papers_weights():
    """N(0, 0.01) in the upsampling, the residual blocks and the last convolution, torch's own in the first."""
    torch.manual_seed(0)
    vocoder = HiFiGAN(64, None, 128, (4, 2), (8, 4), 1, (3,), ((1, 3, 5),))
    for conv in (*vocoder.ups, vocoder.resblocks[0].convs1[0], vocoder.conv_post):
        assert conv.kernel().std().item() == pytest.approx(0.01, rel=0.15)
    assert vocoder.conv_pre.kernel().std().item() > 0.02


def test_official_layout():
    state = HiFiGAN().state_dict()
    assert len(state) == 236
    assert sum(value.numel() for value in state.values()) == 16_533_506
    assert list(state)[:4] == ["lin_pre.weight", "lin_pre.bias", "conv_pre.bias", "conv_pre.weight_g"]
    shapes = {
        "lin_pre.weight": (512, 1024),
        "conv_pre.weight_v": (512, 512, 7),
        "ups.0.weight_v": (512, 256, 20),
        "ups.3.weight_g": (64, 1, 1),
        "ups.3.bias": (32,),
        "resblocks.4.convs2.1.weight_v": (128, 128, 7),
        "resblocks.11.convs1.2.weight_v": (32, 32, 11),
        "conv_post.weight_v": (1, 32, 7),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_fold_keeps_the_numbers():
    generator, feats = HiFiGAN(**TINY), torch.randn(2, 9, 6)
    with torch.no_grad():
        before = generator(feats)
        folded = copy.deepcopy(generator).remove_weight_norm()
        assert torch.equal(folded(feats), before)
        assert torch.equal(generator(feats), before), "folding a copy must leave the original alone"
    assert not any("weight_" in key for key in folded.state_dict())
    assert any("weight_" in key for key in generator.state_dict())


def test_folded_v1_size():
    generator = HiFiGAN().fold()
    assert len(generator.state_dict()) == 158
    assert sum(p.numel() for p in generator.parameters()) == 16_523_393


V3 = {"resblock": 2, "resblock_kernels": (3, 5, 7), "resblock_dilations": ((1, 2), (2, 6), (3, 12))}


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        ({}, 13_926_017),
        ({"channels": 128}, 925_985),
        ({"channels": 256, "upsample_rates": (8, 8, 4), "upsample_kernels": (16, 16, 8)} | V3, 1_462_273),
    ],
    ids=["V1", "V2", "V3"],
)
def test_the_sizes_of_the_paper(sizes, parameters):
    """On mels at 22.05 kHz: 13.92M, 0.92M and 1.46M (Kong et al. 2020, table 1)."""
    mels = {"in_channels": 80, "projection": None, "upsample_rates": (8, 8, 2, 2), "upsample_kernels": (16, 16, 4, 4)}
    assert sum(p.numel() for p in HiFiGAN(**mels | sizes).fold().parameters()) == parameters


@pytest.mark.parametrize("training", [True, False])
def test_weight_norm_is_torchs(training):
    """Values and gradients of a normed convolution equal those of torch's own parametrisation."""
    ours = HiFiGAN(**TINY).train(training).conv_pre
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(16, 32, 7, padding=3))
    theirs.load_state_dict(
        {
            "bias": ours.bias,
            "parametrizations.weight.original0": ours.weight_g,
            "parametrizations.weight.original1": ours.weight_v,
        }
    )
    x = torch.randn(2, 16, 20)
    a, b = ours(x), theirs(x)
    assert torch.equal(a, b)
    a.square().sum().backward(), b.square().sum().backward()
    assert torch.equal(ours.weight_g.grad, theirs.parametrizations.weight.original0.grad)
    assert torch.equal(ours.weight_v.grad, theirs.parametrizations.weight.original1.grad)


VARIANTS = {
    "v1": {},
    "v2": {"channels": 128, "projection": 128},
    "v3": {
        "channels": 256,
        "upsample_rates": (8, 8, 4),
        "upsample_kernels": (16, 16, 8),
        "resblock": 2,
        "resblock_kernels": (3, 5, 7),
        "resblock_dilations": ((1, 2), (2, 6), (3, 12)),
    },
    "mel 22.05 kHz": {
        "in_channels": 80,
        "projection": None,
        "upsample_rates": (8, 8, 2, 2),
        "upsample_kernels": (16, 16, 4, 4),
    },
    "odd rates": {"upsample_rates": (5, 3), "upsample_kernels": (11, 7)},
    "one short stage": {  # so few samples a frame that each of the reach counts
        "upsample_rates": (2,),
        "upsample_kernels": (2,),
        "resblock_kernels": (3,),
        "resblock_dilations": ((1,),),
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_context_is_the_exact_reach(name):
    """A changed frame changes samples `context` frames away and none further; HiFi-GAN V1 reaches 11."""
    sizes = {**TINY, **VARIANTS[name], "channels": 32}
    generator = HiFiGAN(**sizes).double().eval()
    for parameter in generator.parameters():  # positive weights: no influence cancels
        parameter.data = parameter.data.abs() * 0.1 + 0.01
    length = 2 * generator.context + 9
    feats = torch.zeros(1, length, sizes["in_channels"], dtype=torch.float64, requires_grad=True)
    middle = length // 2
    wav = generator(feats).view(length, generator.hop)
    (grad,) = torch.autograd.grad(wav[middle].sum(), feats)
    frames = grad[0].abs().sum(1).nonzero().flatten()
    assert max(middle - frames.min().item(), frames.max().item() - middle) == generator.context
    if name == "v1":
        assert generator.context == 11


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (
            {"upsample_rates": (10, 8, 2, 2), "hop": 256},
            r"10·8·2·2 = 320 .* hop 256: HiFiGAN: .* \[8, 8, 2, 2\]",
        ),
        ({"upsample_kernels": (21, 16, 4, 4)}, "kernel 21 does not fit rate 10"),
        ({"upsample_kernels": (8, 16, 4, 4)}, "kernel 8 does not fit rate 10"),
        ({"upsample_kernels": (20, 16, 4)}, "4 upsample_rates, 3 upsample_kernels"),
        ({"channels": 100}, "channels 100"),
        ({"resblock": 3}, "resblock 3"),
        ({"resblock_kernels": (3, 7)}, "2 resblock_kernels, 3 resblock_dilations"),
        ({"resblock_kernels": (3, 8, 11)}, "odd"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(sizes, words):
    with pytest.raises(UsageError, match=words) as error:
        HiFiGAN(**{**TINY, **sizes})
    assert "\n" not in str(error.value)
