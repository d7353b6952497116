"""Discriminators against the official ones, and the ways of calling them against each other."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.vocoders.golden import features, fill, tone
from vocolab.audio.stft import spectrogram
from vocolab.errors import UsageError
from vocolab.parts import build, describe
from vocolab.vocoders import (
    Discriminator,
    Ensemble,
    HiFiGAN,
    MultiPeriodDiscriminator,
    MultiResolutionSTFTDiscriminator,
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    frozen,
)
from vocolab.vocoders.normed import SNConv1d

SMALL = {
    "mpd": lambda: MultiPeriodDiscriminator((2, 3, 5), (4, 8, 8)),
    "msd": lambda: MultiScaleDiscriminator(2, (16, 32, 32), (15, 41, 5), (1, 4, 1), (1, 4, 1)),
    "stft": lambda: MultiResolutionSTFTDiscriminator(((256, 64), (128, 32, 100)), (4, 4, 4), (1, 2, 1), power=0.5),
}


@pytest.fixture(scope="module")
def golden_pair():
    """Real (1, 7040) and the golden generator's output."""
    with torch.no_grad():
        return tone(), fill(HiFiGAN())(features())


@pytest.mark.parametrize(
    ("kind", "parameters", "tensors", "lengths", "sums", "maps", "losses"),
    [
        (
            MultiPeriodDiscriminator,
            41_105_770,
            90,
            [88, 87, 90, 91, 88],
            [-0.010671, -0.641308, -0.922441, -0.538060, 0.192836],
            6,
            (5.043326, 5.043131, 5.521179),
        ),
        (
            MultiScaleDiscriminator,
            29_618_821,
            80,
            [110, 56, 28],
            [0.001442, 0.313685, -0.144647],
            8,
            (2.999219, 2.999154, 0.533574),
        ),
    ],
)
def test_golden_values(golden_pair, kind, parameters, tensors, lengths, sums, maps, losses):
    network = fill(kind())
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == tensors
    with torch.no_grad():
        real, fake = network.pair(*golden_pair)
    assert [j.score.shape for j in real] == [(1, n) for n in lengths]
    assert [j.score.sum().item() for j in real] == pytest.approx(sums, abs=5e-6)
    assert [len(j.maps) for j in fake] == [maps] * len(lengths)
    found = discriminator_loss(real, fake), adversarial_loss(fake), feature_matching_loss(real, fake)
    assert [value.item() for value in found] == pytest.approx(losses, abs=5e-6)


def test_univnets_spectrogram_networks():
    """Parameters, names and scores are those of UnivNet's public code, given the same Hann spectrograms."""
    network = fill(MultiResolutionSTFTDiscriminator(slope=0.2))
    assert sum(p.numel() for p in network.parameters()) == 280_902
    assert list(network.state_dict())[:2] == ["discriminators.0.convs.0.bias", "discriminators.0.convs.0.weight_g"]
    with torch.no_grad():
        judged = network(tone())
    assert [j.score.shape for j in judged] == [(1, 3835), (1, 3870), (1, 4653)] and len(judged[0].maps) == 6
    assert [j.score.sum().item() for j in judged] == pytest.approx([-39919.297, -141538.27, -10727.203], rel=1e-5)


def test_a_window_shorter_than_its_transform_is_that_of_torch_stft():
    wav = torch.randn(1, 2000)
    network = MultiResolutionSTFTDiscriminator([[256, 64, 100]], [4, 4], [1, 2])
    found = spectrogram(wav, network.discriminators[0].window, 64)
    expected = torch.stft(wav, 256, 64, 100, torch.hann_window(100), pad_mode="reflect", return_complex=True).abs()
    assert torch.allclose(found, expected.transpose(1, 2).clamp(min=1e-5), atol=1e-5)


@pytest.mark.parametrize("resolution", [[256, 64, 300], [255, 64], [256, 0], [256, 120, 100]])
def test_a_resolution_that_does_not_fit_is_one_line(resolution):
    with pytest.raises(UsageError, match="hop ≤ window ≤ n_fft"):
        MultiResolutionSTFTDiscriminator([resolution])


@pytest.mark.parametrize("name", SMALL)
def test_pair_is_both_alone(name):
    """One pass over both equals two passes: scores, maps and the gradients of the weights."""
    network = SMALL[name]().eval()
    real, fake = torch.randn(3, 1001), torch.randn(3, 1001)
    together = network.pair(real, fake)
    apart = network(real), network(fake)
    for one, two in zip(together, apart, strict=True):
        for a, b in zip(one, two, strict=True):
            assert a.score.shape == b.score.shape and torch.allclose(a.score, b.score, atol=1e-5)
            assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(a.maps, b.maps, strict=True))
    ours = torch.autograd.grad(discriminator_loss(*together), list(network.parameters()))
    theirs = torch.autograd.grad(discriminator_loss(*apart), list(network.parameters()))
    assert any(grad.abs().max() > 1e-3 for grad in theirs)
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", SMALL)
def test_rows_are_judged_alone(name):
    network, wav = SMALL[name]().eval(), torch.randn(4, 900)
    whole = network(wav)
    for i in range(4):
        alone = network(wav[i : i + 1])
        for a, b in zip(whole, alone, strict=True):
            assert torch.allclose(a.score[i], b.score[0], atol=1e-5)
            assert all(torch.allclose(x[i], y[0], atol=1e-5) for x, y in zip(a.maps, b.maps, strict=True))


@pytest.mark.parametrize("samples", [600, 601, 602, 603, 604])
def test_any_length_is_judged(samples):
    for make in SMALL.values():
        for judgement in make()(torch.randn(2, samples)):
            assert judgement.score.isfinite().all() and judgement.score.shape[0] == 2


def test_ensemble_joins_its_members():
    members = [make() for make in SMALL.values()]
    network = Ensemble(members).eval()
    wav = torch.randn(2, 800)
    scores = [j.score for member in members for j in member(wav)]
    assert [torch.equal(j.score, s) for j, s in zip(network(wav), scores, strict=True)] == [True] * 7


@pytest.mark.parametrize("name", SMALL)
def test_describe_rebuilds_it(name):
    network = Ensemble([SMALL[name]()])
    again = build(describe(network), Discriminator)
    again.load_state_dict(network.state_dict())
    wav = torch.randn(1, 700)
    assert torch.equal(again.eval()(wav)[0].score, network.eval()(wav)[0].score)


def test_spectral_norm_is_torchs():
    """Weights, buffers and gradients after several training steps equal those of torch's hook, whose names ours has."""
    ours = SNConv1d(4, 6, 5)
    theirs = torch.nn.utils.spectral_norm(torch.nn.Conv1d(4, 6, 5))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 30)
    for network in (ours, theirs):
        for _ in range(3):
            loss = network(x).square().sum() + network(-x).relu().sum()
            network.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 1e-3 * parameter.grad
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[key], value, atol=1e-6), key
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-6)


def test_spectral_norm_bounds_the_gain():
    conv = SNConv1d(8, 8, 3)
    for _ in range(50):
        weight = conv.normalized()
    assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_a_fresh_spectral_norm_is_near_1():
    """A single power iteration from random vectors would leave gains near 1.4."""
    for seed in range(5):
        torch.manual_seed(seed)
        weight = SNConv1d(16, 32, 5).eval().kernel().flatten(1)
        assert 0.99 < torch.linalg.matrix_norm(weight, 2).item() < 1.2


def test_magnitudes_are_raised_to_the_power():
    wav = torch.randn(1, 4000)

    def scores(power: float, level: float) -> torch.Tensor:
        torch.manual_seed(0)
        network = MultiResolutionSTFTDiscriminator([[256, 64]], [4, 4], [1, 2], power)
        return network(level * wav)[0].score

    torch.testing.assert_close(scores(0.0, 1.0), scores(0.0, 4.0))  # all magnitudes are 1
    assert not torch.allclose(scores(0.5, 1.0), scores(0.5, 4.0), rtol=0.1)


def test_frozen_restores_and_computes_weights_once():
    network = Ensemble([make() for make in SMALL.values()])
    next(network.parameters()).requires_grad_(False)
    before = [p.requires_grad for p in network.parameters()]
    with pytest.raises(RuntimeError), frozen(network):
        assert not any(p.requires_grad for p in network.parameters())
        conv = network.members[0].discriminators[0].convs[0]
        assert conv.kernel() is conv.kernel()
        raise RuntimeError
    assert [p.requires_grad for p in network.parameters()] == before
    assert conv.kernel() is not conv.kernel()


def test_discriminators_can_be_copied_after_a_step():
    """EMA and DDP copy modules; torch's hook-based norms cannot be copied once they ran."""
    network = Ensemble([make() for make in SMALL.values()])
    network(torch.randn(1, 700))[0].score.sum().backward()
    again, wav = copy.deepcopy(network).eval(), torch.randn(1, 700)
    assert torch.equal(again(wav)[-1].score, network.eval()(wav)[-1].score)


def test_lists_of_different_length_are_one_line():
    with pytest.raises(UsageError, match="differ in length"):
        MultiScaleDiscriminator(channels=(4, 8))
    with pytest.raises(UsageError, match="differ in length"):
        MultiResolutionSTFTDiscriminator(channels=(4,))
