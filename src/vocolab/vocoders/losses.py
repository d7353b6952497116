"""Losses between waveforms, and those of the adversarial game."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.audio import LogMel
from vocolab.audio.stft import spectrogram
from vocolab.vocoders.discriminators import Discriminator, Judgement
from vocolab.vocoders.normed import frozen


class WaveLoss(nn.Module, ABC):
    """A distance between vocoded and real waveforms, to be multiplied by `weight`."""

    weight: float

    @abstractmethod
    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """The unweighted loss, a scalar, of fake and real (B, T)."""


class MelLoss(WaveLoss):
    """L1 between log-mel spectrograms (HiFi-GAN equation 3; its λ_mel is the weight).

    Sizes that are not given follow from the rate, as those of `vocolab.audio.LogMel` do.
    """

    def __init__(
        self,
        weight: float = 45.0,
        sample_rate: int = 16000,
        n_fft: int | None = None,
        hop: int | None = None,
        n_mels: int = 80,
        fmin: float = 0.0,
        fmax: float | None = None,
    ):
        super().__init__()
        self.log_mel = LogMel(sample_rate, n_fft, hop, n_mels, fmin, fmax)
        self.weight, self.sample_rate, self.n_mels, self.fmin = weight, sample_rate, n_mels, fmin
        self.n_fft, self.hop, self.fmax = self.log_mel.n_fft, self.log_mel.hop, self.log_mel.fmax

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.log_mel(real)
        return F.l1_loss(self.log_mel(fake), target)


class MultiResolutionSTFTLoss(WaveLoss):
    """Spectral convergence plus L1 of log magnitudes, averaged over resolutions (n_fft, hop).

    Parallel WaveGAN (Yamamoto et al. 2020), equations 4 to 6; its resolutions are in samples and meant for 24 kHz. The
    convergence is computed for each row and averaged, so that the loss of a batch is the mean of its rows' losses, and
    several ranks learn what one rank would.
    """

    def __init__(
        self, weight: float = 1.0, resolutions: Sequence[tuple[int, int]] = ((1024, 120), (2048, 240), (512, 50))
    ):
        super().__init__()
        self.weight, self.resolutions = weight, resolutions
        for n_fft, _ in resolutions:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        total = fake.new_zeros(())
        for n_fft, hop in self.resolutions:
            window = getattr(self, f"window_{n_fft}")
            with torch.no_grad():
                target = spectrogram(real.float(), window, hop)
            magnitude = spectrogram(fake.float(), window, hop)
            error, size = (torch.linalg.vector_norm(x, dim=(1, 2)) for x in (target - magnitude, target))
            total = total + (error / size).mean()
            total = total + F.l1_loss(magnitude.log(), target.log())
        return total / len(self.resolutions)


def discriminator_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Σ mean (1 - D(real))² + mean D(fake)² over the networks (least-squares GAN, HiFi-GAN equation 1)."""
    return _sum((1 - r.score).square().mean() + f.score.square().mean() for r, f in zip(real, fake, strict=True))


def adversarial_loss(fake: Sequence[Judgement]) -> Tensor:
    """Σ mean (1 - D(fake))² over the networks (HiFi-GAN equation 2)."""
    return _sum((1 - f.score).square().mean() for f in fake)


def feature_matching_loss(real: Sequence[Judgement], fake: Sequence[Judgement], factor: float = 2.0) -> Tensor:
    """factor · Σ mean |map of real - map of fake| over the layers of all networks (HiFi-GAN equation 4)."""
    pairs = ((r, f) for one, two in zip(real, fake, strict=True) for r, f in zip(one.maps, two.maps, strict=True))
    return factor * _sum(F.l1_loss(f, r.detach()) for r, f in pairs)


def generator_losses(discriminator: Discriminator, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Adversarial and feature-matching loss of `fake` (B, T), whose gradients reach the generator alone.

    The discriminator's parameters are frozen and the maps of `real` are computed without a graph. The generator's
    gradients are bit for bit the same as without these savings, in half the time.
    """
    with frozen(discriminator):
        with torch.no_grad():
            target = discriminator(real)
        judged = discriminator(fake)
    return adversarial_loss(judged), feature_matching_loss(target, judged)


def _sum(losses: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, losses)
