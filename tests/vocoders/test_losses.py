"""Losses: known values, and a generator step that leaves the discriminator out of the graph."""

from __future__ import annotations

import pytest
import torch

from vocolab import audio
from vocolab.audio import log_mel
from vocolab.parts import build, describe
from vocolab.vocoders import (
    Ensemble,
    HiFiGAN,
    Judgement,
    MelLoss,
    MultiPeriodDiscriminator,
    MultiResolutionSTFTDiscriminator,
    MultiResolutionSTFTLoss,
    MultiScaleDiscriminator,
    WaveLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    generator_losses,
)


def judgement(score: float, level: float) -> Judgement:
    return Judgement(torch.full((2, 3), score), [torch.full((2, 4, 5), level), torch.full((2, 3), score)])


def test_adversarial_losses_by_hand():
    real, fake = [judgement(0.5, 2.0), judgement(1.0, 1.0)], [judgement(0.25, 1.5), judgement(-1.0, 1.0)]
    assert discriminator_loss(real, fake).item() == pytest.approx(0.25 + 0.0625 + 0 + 1)
    assert adversarial_loss(fake).item() == pytest.approx(0.5625 + 4)
    assert feature_matching_loss(real, fake).item() == pytest.approx(2 * (0.5 + 0.25 + 0 + 2))


@pytest.fixture
def speech(speech_file) -> torch.Tensor:
    """(2, 7040) of real speech."""
    wav, _ = audio.read(speech_file)
    return torch.stack([wav[8000:15040], wav[16000:23040]])


def test_mel_loss_is_the_distance_of_log_mels(speech):
    noisy = speech + 0.01 * torch.randn_like(speech)
    loss = MelLoss()
    assert loss.weight == 45
    assert loss(speech, speech).item() == 0
    expected = (log_mel(noisy) - log_mel(speech)).abs().mean()
    assert loss(noisy, speech).item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected > 0.1


@pytest.mark.parametrize("loss", [MelLoss(), MultiResolutionSTFTLoss()], ids=["mel", "stft"])
def test_wave_losses_grow_with_noise_and_descend(loss, speech):
    torch.manual_seed(0)
    noise = torch.randn_like(speech)
    values = [loss(speech + level * noise, speech).item() for level in (0.001, 0.01, 0.1)]
    assert 0 < values[0] < values[1] < values[2]
    fake = (speech + 0.01 * noise).requires_grad_()
    value = loss(fake, speech)
    (grad,) = torch.autograd.grad(value, fake)
    assert grad.isfinite().all()
    with torch.no_grad():
        assert loss(fake - 1e-3 * grad / grad.abs().max(), speech) < value


@pytest.mark.parametrize("loss", [MelLoss(), MultiResolutionSTFTLoss()], ids=["mel", "stft"])
def test_silence_has_finite_gradients(loss):
    fake = torch.zeros(1, 7040, requires_grad=True)
    loss(fake, 0.1 * torch.randn(1, 7040)).backward()
    assert fake.grad.isfinite().all()
    value = loss(0.1 * torch.randn(1, 7040), torch.zeros(1, 7040))
    assert value.isfinite()


def test_stft_loss_by_hand(speech):
    window = torch.hann_window(256)
    fake = 0.5 * speech + 0.01

    def magnitude(wav):
        spectrum = torch.stft(wav, 256, 64, window=window, return_complex=True)
        return spectrum.abs().clamp(min=1e-5)

    a, b = magnitude(fake), magnitude(speech)
    expected = ((b - a).norm(dim=(1, 2)) / b.norm(dim=(1, 2))).mean() + (a.log() - b.log()).abs().mean()
    found = MultiResolutionSTFTLoss(resolutions=[[256, 64]])(fake, speech)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    twice = MultiResolutionSTFTLoss(resolutions=[[256, 64], [256, 64]])(fake, speech)
    assert twice.item() == pytest.approx(found.item(), rel=1e-5)  # the mean over resolutions


@pytest.mark.parametrize("loss", [MelLoss(weight=3, hop=256), MultiResolutionSTFTLoss(2.0, [[256, 64]])])
def test_describe_rebuilds_losses(loss, speech):
    again = build(describe(loss), WaveLoss)
    assert torch.equal(again(0.5 * speech, speech), loss(0.5 * speech, speech))
    assert not loss.state_dict()


@pytest.mark.parametrize("training", [True, False])
def test_frozen_discriminator_gives_the_generator_the_same_gradients(training, speech):
    """Bit for bit those of the plain order of work: gradients into D, and through the maps of real speech."""
    torch.manual_seed(0)
    generator = HiFiGAN(in_channels=5, projection=8, channels=16)
    discriminator = Ensemble(
        [
            MultiPeriodDiscriminator((2, 3), (4, 8, 8)),
            MultiScaleDiscriminator(2, (16, 32, 32), (15, 41, 5), (1, 4, 1), (1, 4, 1)),
            MultiResolutionSTFTDiscriminator(((256, 64),), (4, 4, 4), (1, 2, 1)),
        ]
    ).train(training)
    for part in discriminator.modules():  # settled, so that one more power iteration changes nothing
        if hasattr(part, "weight_u"):
            part.eval()
    feats = torch.randn(2, 22, 5)
    parameters = list(generator.parameters())

    fake = generator(feats)
    real_judged, fake_judged = discriminator(speech), discriminator(fake)
    plain = adversarial_loss(fake_judged) + 2 * sum(
        (a - b).abs().mean()
        for r, f in zip(real_judged, fake_judged, strict=True)
        for a, b in zip(r.maps, f.maps, strict=True)
    )
    expected = torch.autograd.grad(plain, parameters)

    misled, matched = generator_losses(discriminator, speech, generator(feats))
    (misled + matched).backward()
    assert misled + matched == plain
    assert all(torch.equal(p.grad, grad) for p, grad in zip(parameters, expected, strict=True))
    assert sum(grad.abs().sum() for grad in expected) > 0
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())
