"""The entry points of kNN-VC (Baas, van Niekerk & Kamper 2023) on torch.hub, with their arguments and defaults:
`torch.hub.load(REPOSITORY, "knn_vc", …)` finds them through `hubconf.py`.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from vocolab.checkpoints import load_vocoder
from vocolab.encoders import WavLM
from vocolab.encoders.wavlm_blocks import WavLMNetwork
from vocolab.pipelines.knnvc import KNNVC
from vocolab.remote import model_file
from vocolab.vocoders import HiFiGAN, fast

logger = logging.getLogger(__name__)


class KNeighborsVC(KNNVC):
    """`KNNVC` that has its parts and figures under kNN-VC's names too."""

    @property
    def hifigan(self) -> nn.Module:
        return self.vocoder

    @property
    def wavlm(self) -> nn.Module | None:
        return self.encoder

    @property
    def sr(self) -> int:
        """Hz of the speech that goes in and comes out."""
        return self.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        return self.vocoder.hop


class Settings(dict[str, Any]):
    """A dictionary whose values are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def knn_vc(
    pretrained: bool = True, progress: bool = True, prematched: bool = True, device: str | torch.device = "cuda"
) -> KNeighborsVC:
    """kNN-VC: WavLM-Large, layer 6, and the vocoder trained on matched features (or on plain ones, `prematched=False`).

    With `pretrained` the weights are fetched from kNN-VC's release, 1.3 GB, unless torch.hub's folder or the working
    directory has them; otherwise they are random. `progress`: say so on standard error. Without a GPU, `cuda` becomes
    `cpu`, with a warning.
    """
    hifigan, _ = hifigan_wavlm(pretrained, progress, prematched, device)
    return KNeighborsVC(fast.prepare(hifigan), wavlm_large(pretrained, progress, device)).eval()


def hifigan_wavlm(
    pretrained: bool = True, progress: bool = True, prematched: bool = True, device: str | torch.device = "cuda"
) -> tuple[HiFiGAN, Settings]:
    """The vocoder, its weight norm removed, and its settings. Features (B, L, 1024) -> waveform (B, 320·L). For the
    arguments see `knn_vc`.
    """
    vocoder = HiFiGAN()
    if pretrained:
        loaded = load_vocoder(model_file("prematch_g_02500000.pt" if prematched else "g_02500000.pt", progress))
        assert isinstance(loaded.vocoder, HiFiGAN)  # the only one with an official layout
        vocoder = loaded.vocoder
    settings = Settings(
        sampling_rate=vocoder.sample_rate,
        hop_size=vocoder.hop,
        hubert_dim=vocoder.in_channels,
        hifi_dim=vocoder.projection,
        resblock=str(vocoder.resblock),
        upsample_rates=list(vocoder.upsample_rates),
        upsample_kernel_sizes=list(vocoder.upsample_kernels),
        upsample_initial_channel=vocoder.channels,
        resblock_kernel_sizes=list(vocoder.resblock_kernels),
        resblock_dilation_sizes=[list(dilations) for dilations in vocoder.resblock_dilations],
    )
    return vocoder.remove_weight_norm().eval().to(_usable(device)), settings


def wavlm_large(pretrained: bool = True, progress: bool = True, device: str | torch.device = "cuda") -> WavLM:
    """WavLM-Large. Waveform (B, T) at 16 kHz -> features (B, L, 1024) of layer 6; `layers` gives those of others, which
    are read from the file when asked for. For the arguments see `knn_vc`.
    """
    encoder = WavLM("WavLM-Large.pt")
    if pretrained:
        return WavLM(model_file("WavLM-Large.pt", progress)).to(_usable(device)).load()
    encoder.network = _random(WavLMNetwork(encoder.shape, encoder.depth))
    return encoder.to(_usable(device))


def _random(network: WavLMNetwork) -> WavLMNetwork:
    """Fill what PyTorch does not fill by itself; frozen, as read weights are."""
    for module in network.modules():
        if not isinstance(module, (nn.Linear, nn.LayerNorm, nn.GroupNorm)):
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=0.02)
    return network.requires_grad_(False).eval()


def _usable(device: str | torch.device) -> torch.device:
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        logger.warning("no GPU here: computing on the CPU instead of %s", device)
        return torch.device("cpu")
    return torch.device(device)
