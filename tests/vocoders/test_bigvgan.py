"""BigVGAN's generator against the official one."""

from __future__ import annotations

import math

import pytest
import torch

from tests.vocoders.golden import fill
from vocolab.errors import UsageError
from vocolab.vocoders import BigVGAN
from vocolab.vocoders.snake import REACH, AntiAliased, Snake, SnakeBeta, low_pass

TINY = {"in_channels": 6, "projection": 16, "channels": 64}
MELS = {"in_channels": 100, "projection": None, "sample_rate": 24000}
BASE = MELS | {"channels": 512, "upsample_rates": (8, 8, 2, 2), "upsample_kernels": (16, 16, 4, 4)}
LARGE = MELS | {"upsample_rates": (4, 4, 2, 2, 2, 2), "upsample_kernels": (8, 8, 4, 4, 4, 4)}


def test_golden_values():
    """The published base model's layout and numbers (24 kHz, 100 bands), from its public code."""
    generator = fill(BigVGAN(**BASE))
    assert len(generator.state_dict()) == 380
    assert sum(p.numel() for p in generator.parameters()) == 14_025_154
    mels = torch.sin(0.01 * torch.arange(1200, dtype=torch.float64)).float().view(1, 12, 100)
    with torch.no_grad():
        wav = generator(mels)
    assert wav.shape == (1, 3072)
    assert wav.sum().item() == pytest.approx(-7.736372, abs=1e-3)
    assert wav.abs().mean().item() == pytest.approx(0.004482247, abs=1e-7)
    assert wav.std().item() == pytest.approx(0.015086018, abs=1e-7)
    expected = torch.tensor([0.0044494, -0.0049338, -0.0023139, -0.0019529, -0.0226265])
    assert torch.allclose(wav[0, [0, 1, 255, 1500, -1]], expected, atol=5e-7)
    assert sum(p.numel() for p in generator.fold().parameters()) == 14_015_041


@pytest.mark.parametrize(("bias", "parameters"), [(True, 112_446_290), (False, 112_446_289)])
def test_the_large_model_has_its_published_size(bias, parameters):
    with torch.device("meta"):
        generator = BigVGAN(**LARGE, final_bias=bias, final_tanh=bias)
    assert sum(p.numel() for p in generator.parameters()) == parameters


def test_the_filter_is_the_published_one():
    half = torch.tensor([0.0020, 0.0094, -0.0255, -0.0577, 0.1286, 0.4432])
    assert torch.allclose(low_pass(), torch.cat([half, half.flip(0)]), atol=5e-5)


def test_snake_by_hand():
    x = torch.tensor([[[-1.0, 0.5, 2.0]]])
    snake, beta = Snake(1), SnakeBeta(1)
    snake.alpha.data.fill_(math.log(3.0))
    beta.alpha.data.fill_(math.log(3.0)), beta.beta.data.fill_(math.log(0.5))
    assert torch.allclose(snake(x), x + (3 * x).sin() ** 2 / 3, atol=1e-6)
    assert torch.allclose(beta(x), x + (3 * x).sin() ** 2 / 0.5, atol=1e-6)


def test_an_anti_aliased_activation_passes_what_is_linear():
    tone = torch.sin(torch.arange(400) * 0.3)[None, None]
    passed = AntiAliased(torch.nn.Identity())(tone)
    assert passed.shape == tone.shape and torch.allclose(passed, tone, atol=0.02)


def test_an_activation_does_not_alias():
    """Of a tone at .3 of the rate, cubing makes a harmonic at .9, which would be heard at .1."""
    tone = torch.sin(2 * math.pi * 0.3 * torch.arange(1000))[None, None]

    class Cube(torch.nn.Module):
        def forward(self, x):
            return x**3

    def at(wav: torch.Tensor, frequency: float) -> float:
        return float(torch.fft.rfft(wav[0, 0] * torch.hann_window(1000)).abs()[round(frequency * 1000)])

    plain, ours = Cube()(tone), AntiAliased(Cube())(tone)
    assert at(plain, 0.1) > 0.2 * at(plain, 0.3)
    assert at(ours, 0.1) < 0.15 * at(plain, 0.1) and at(ours, 0.3) > 0.8 * at(plain, 0.3)


def test_the_reach_of_an_activation():
    act = AntiAliased(torch.nn.Identity()).double()
    x = torch.zeros(1, 1, 41, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(act(x)[0, 0, 20], x)
    touched = grad[0, 0].nonzero().flatten()
    assert (touched.min(), touched.max()) == (20 - REACH, 20 + REACH)


VARIANTS = {
    "default": {},
    "base": {"upsample_rates": (10, 8, 2, 2), "upsample_kernels": (20, 16, 4, 4)},
    "one short stage": {  # so few samples a frame that each of the reach counts
        "upsample_rates": (2,),
        "upsample_kernels": (2,),
        "block_kernels": (3,),
        "block_dilations": ((1,),),
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_context_is_the_exact_reach(name):
    """A changed frame changes samples `context` frames away and none further; the default reaches 31."""
    generator = BigVGAN(**TINY | VARIANTS[name]).double()
    for key, parameter in generator.named_parameters():  # positive weights: no influence cancels
        parameter.data = torch.zeros_like(parameter) if "act" in key else parameter.data.abs() * 0.1 + 0.01
    for module in generator.modules():
        if isinstance(module, AntiAliased):
            module.act, module.taps = torch.nn.Identity(), module.taps.abs()
    length = 2 * generator.context + 5
    feats = torch.zeros(1, length, 6, dtype=torch.float64, requires_grad=True)
    middle = length // 2
    wav = torch.atanh(generator(feats)).view(length, generator.hop)
    (grad,) = torch.autograd.grad(wav[middle].sum(), feats)
    frames = grad[0].abs().sum(1).nonzero().flatten()
    assert max(middle - frames.min().item(), frames.max().item() - middle) == generator.context
    if name == "default":
        assert generator.context == 31


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"hop": 480}, r"5·4·2·2·2·2 = 320 .* hop 480: BigVGAN: .* upsample_rates: \[10, 8, 3, 2\]"),
        ({"upsample_kernels": (10, 8, 4, 4, 4, 4)}, "kernel 10 does not fit rate 5: BigVGAN: .* as 11"),
        ({"channels": 32}, "channels 32: BigVGAN: take a multiple of 64"),
        ({"activation": "relu"}, "snake, snakebeta"),
        ({"block_kernels": (3, 7)}, "2 block_kernels, 3 block_dilations"),
        ({"block_kernels": (3, 8, 11)}, "odd"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(sizes, words):
    with pytest.raises(UsageError, match=words) as error:
        BigVGAN(**TINY | sizes)
    assert "\n" not in str(error.value)
