"""Features to waveform, and what trains it."""

from vocolab.vocoders.base import Vocoder
from vocolab.vocoders.bigvgan import BigVGAN
from vocolab.vocoders.discriminators import (
    Discriminator,
    Ensemble,
    Judgement,
    MultiPeriodDiscriminator,
    MultiResolutionSTFTDiscriminator,
    MultiScaleDiscriminator,
)
from vocolab.vocoders.frames import FrameDiscriminator
from vocolab.vocoders.hifigan import HiFiGAN
from vocolab.vocoders.layer_weights import LayerWeights
from vocolab.vocoders.losses import (
    MelLoss,
    MultiResolutionSTFTLoss,
    WaveLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    generator_losses,
)
from vocolab.vocoders.normed import frozen
from vocolab.vocoders.vocos import Vocos

__all__ = [
    "BigVGAN",
    "Discriminator",
    "Ensemble",
    "FrameDiscriminator",
    "HiFiGAN",
    "Judgement",
    "LayerWeights",
    "MelLoss",
    "MultiPeriodDiscriminator",
    "MultiResolutionSTFTDiscriminator",
    "MultiResolutionSTFTLoss",
    "MultiScaleDiscriminator",
    "Vocoder",
    "Vocos",
    "WaveLoss",
    "adversarial_loss",
    "discriminator_loss",
    "feature_matching_loss",
    "frozen",
    "generator_losses",
]
