"""The networks in a GPU's layout compute what they compute."""

from __future__ import annotations

import pytest
import torch

from vocolab.vocoders import (
    BigVGAN,
    Ensemble,
    FrameDiscriminator,
    HiFiGAN,
    LayerWeights,
    MultiPeriodDiscriminator,
    MultiResolutionSTFTDiscriminator,
    MultiScaleDiscriminator,
    channels_last,
    discriminator_loss,
    generator_losses,
)
from vocolab.vocoders.discriminators import PeriodConv, SpectrogramConv
from vocolab.vocoders.normed import SNConv1d, WNConv1d, WNConvTranspose1d

SMALL = {"resblock_kernels": (3, 7), "resblock_dilations": ((1, 3), (1, 5))}
VOCODERS = {
    "v1": lambda: HiFiGAN(24, 16, 32, **SMALL),
    "v3, an odd rate": lambda: HiFiGAN(24, None, 16, (7, 3), (15, 7), 2, hop=21, **SMALL),
    "layers": lambda: LayerWeights(HiFiGAN(12, 8, 16, **SMALL), 24),
    "other": lambda: BigVGAN(24, 16, 64, block_kernels=(3,), block_dilations=((1, 3),)),
}
DISCRIMINATORS = {
    "periods": lambda: MultiPeriodDiscriminator((2, 3, 7), (4, 8, 8)),
    "scales": lambda: MultiScaleDiscriminator(3, (8, 8, 16), (15, 41, 5), (1, 4, 2), (1, 4, 1)),
    "spectrograms": lambda: MultiResolutionSTFTDiscriminator(((256, 60), (512, 120)), (4, 8), (1, 2)),
    "other": lambda: FrameDiscriminator(((256, 64),), (8, 8)),
}


def close(one: torch.Tensor, two: torch.Tensor, within: float = 1e-5) -> bool:
    return torch.allclose(one, two, rtol=within, atol=within * float(two.detach().abs().max()))


def gradients(loss: torch.Tensor, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    network.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def assert_close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys() and len(one) > 0
    assert [name for name in one if not close(one[name], two[name], 1e-4)] == []  # long sums


@pytest.mark.parametrize("name", VOCODERS)
def test_a_vocoder_and_its_gradients(name):
    torch.manual_seed(0)
    vocoder = VOCODERS[name]()
    twin, feats = channels_last.prepare(vocoder), torch.randn(2, 9, 24)
    expected, wav = vocoder(feats), twin(feats)
    weight = torch.randn_like(wav)
    assert close(wav, expected)
    plain = gradients((expected * weight).sum(), vocoder)
    assert_close(gradients((wav * weight).sum(), vocoder), plain)  # the parameters are shared


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_discriminator_and_what_it_teaches(name):
    torch.manual_seed(0)
    discriminator = Ensemble([DISCRIMINATORS[name]()])
    for part in discriminator.modules():
        if isinstance(part, SNConv1d):
            part.eval()  # each forward would turn its vectors further, and both have the same
    twin = channels_last.prepare(discriminator)
    real, fake = torch.randn(2, 1000), torch.randn(2, 1000)
    for one, two in zip(twin(real), discriminator(real), strict=True):
        assert close(one.score, two.score)
        assert [m.numel() for m in one.maps] == [m.numel() for m in two.maps]
    found, expected = (gradients(discriminator_loss(*d.pair(real, fake)), discriminator) for d in (twin, discriminator))
    assert_close(found, expected)
    wav = fake.clone().requires_grad_()
    losses = [sum(generator_losses(network, real, wav)) for network in (twin, discriminator)]
    found, expected = (torch.autograd.grad(loss, wav)[0] for loss in losses)
    assert close(found, expected, 1e-4)


def test_the_norms_go_on_together():
    """A power iteration of the twin is one of the network's."""
    discriminator = Ensemble([MultiScaleDiscriminator(1, (8,), (15,), (1,), (1,))])
    before = {name: value.clone() for name, value in discriminator.named_buffers()}
    channels_last.prepare(discriminator)(torch.randn(1, 100))
    assert any(not torch.equal(value, before[name]) for name, value in discriminator.named_buffers())


def test_nothing_is_turned_around_on_the_way(monkeypatch):
    """From the first convolution to the last, inputs and weights have their channels innermost, in autocast's type, and
    each weight is made once a pass, twice in the vocoder's step too.
    """
    torch.manual_seed(0)
    vocoder = channels_last.prepare(VOCODERS["v1"]())
    judge = channels_last.prepare(Ensemble([DISCRIMINATORS["periods"](), DISCRIMINATORS["scales"]()]))
    seen = {"conv2d": [], "conv_transpose2d": []}

    def watch(name):
        plain = getattr(torch.nn.functional, name)

        def convolve(x, weight, *rest):
            seen[name].append((x, weight))
            return plain(x, weight, *rest)

        monkeypatch.setattr(torch.nn.functional, name, convolve)

    watch("conv2d"), watch("conv_transpose2d")
    with torch.autocast("cpu", torch.bfloat16):
        fake = vocoder(torch.randn(2, 9, 24))
        kept = {}
        monkeypatch.setattr(channels_last, "_channels_last", _counting(channels_last._channels_last, kept))
        generator_losses(judge, torch.randn_like(fake), fake)
    for x, weight in (*seen["conv2d"], *seen["conv_transpose2d"]):
        assert x.is_contiguous(memory_format=torch.channels_last) and x.ndim == 4
        assert weight.is_contiguous(memory_format=torch.channels_last) and weight.dtype == torch.bfloat16
    assert all(x.dtype == torch.bfloat16 for x, _ in seen["conv2d"] if x.shape[1] > 1)
    convolutions = [m for m in judge.modules() if isinstance(m, (WNConv1d, SNConv1d, PeriodConv))]
    assert kept["times"] == len(convolutions) and len(seen["conv_transpose2d"]) == 4


def _counting(function, kept):
    def counted(weight):
        kept["times"] = kept.get("times", 0) + 1
        return function(weight)

    return counted


@pytest.mark.parametrize("part", [WNConv1d, SNConv1d, WNConvTranspose1d, PeriodConv, SpectrogramConv])
def test_the_network_itself_stays_as_it_is(part):
    networks = [VOCODERS["v1"](), *(make() for make in DISCRIMINATORS.values())]
    before = [[type(m) for m in network.modules()] for network in networks]
    twins = [channels_last.prepare(network) for network in networks]
    assert [[type(m) for m in network.modules()] for network in networks] == before
    plain = [m for twin in twins[:4] for m in twin.modules() if type(m) is part]
    assert plain == [] and any(type(m) is part for network in networks for m in network.modules())


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["v1", "v3, an odd rate", "periods", "scales", "spectrograms"])
def test_on_a_gpu(name):
    torch.manual_seed(0)
    network = (VOCODERS if name in VOCODERS else DISCRIMINATORS)[name]().to("cuda")
    given = torch.randn(2, 9, 24) if name in VOCODERS else torch.randn(2, 1000)
    for part in network.modules():
        if isinstance(part, SNConv1d):
            part.eval()
    twin, given = channels_last.prepare(network), given.to("cuda")
    outputs = [
        net(given) if name in VOCODERS else torch.cat([j.score for j in net(given)], 1) for net in (twin, network)
    ]
    assert (outputs[0] - outputs[1]).abs().max() < 1e-2 * outputs[1].abs().max()  # convolutions may round to TF32
