"""HiFi-GAN's generator (Kong et al. 2020, https://arxiv.org/abs/2010.05646), under the official parameter names.

With `projection` it is kNN-VC's (Baas et al. 2023): a linear layer narrows wide encoder features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.errors import UsageError
from vocolab.vocoders.base import Vocoder
from vocolab.vocoders.normed import WNConv1d, fold
from vocolab.vocoders.upsampling import check_blocks, check_stages, context, same_conv, suggest, up_convs

SLOPE = 0.1  # of every LeakyReLU but the last
LAST_SLOPE = 0.01  # the official code leaves torch's default before conv_post; trained weights rely on it


class ResBlock1(nn.Module):
    """Pairs of a dilated convolution and one of dilation 1, with a residual around each pair (V1 and V2)."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]):
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu_(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x

    @staticmethod
    def reach(kernel: int, dilations: Sequence[int]) -> int:
        """Samples on each side that an output sample depends on."""
        return sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations)


class ResBlock2(nn.Module):
    """A residual around every dilated convolution (V3)."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]):
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, SLOPE))
        return x

    @staticmethod
    def reach(kernel: int, dilations: Sequence[int]) -> int:
        """Samples on each side that an output sample depends on."""
        return sum((kernel - 1) // 2 * dilation for dilation in dilations)


class HiFiGAN(Vocoder):
    """Transposed convolutions, each followed by parallel residual blocks whose outputs are averaged.

    The defaults are V1 for WavLM features at 50 frames/s, 16 kHz. `projection=None` feeds the features to `conv_pre`
    directly: the original HiFi-GAN on mels. `resblock` is 1 (V1, V2) or 2 (V3). `hop`, where given, must be the product
    of the rates. Raises `UsageError` for sizes that do not fit together.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        projection: int | None = 512,
        channels: int = 512,
        upsample_rates: Sequence[int] = (10, 8, 2, 2),
        upsample_kernels: Sequence[int] = (20, 16, 4, 4),
        resblock: int = 1,
        resblock_kernels: Sequence[int] = (3, 7, 11),
        resblock_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        sample_rate: int = 16000,
        hop: int | None = None,
    ):
        super().__init__()
        self.in_channels, self.projection, self.channels, self.resblock = in_channels, projection, channels, resblock
        self.upsample_rates, self.upsample_kernels = tuple(upsample_rates), tuple(upsample_kernels)
        self.resblock_kernels = tuple(resblock_kernels)
        self.resblock_dilations = tuple(tuple(dilations) for dilations in resblock_dilations)
        self.sample_rate, self.hop = sample_rate, hop or math.prod(upsample_rates)
        self._check()

        block = ResBlock1 if resblock == 1 else ResBlock2
        kinds = list(zip(self.resblock_kernels, self.resblock_dilations, strict=True))
        widths = [channels >> i for i in range(len(self.upsample_rates) + 1)]
        if projection is not None:
            self.lin_pre = nn.Linear(in_channels, projection)
        self.conv_pre = WNConv1d(projection or in_channels, channels, 7, padding=3)
        self.ups = up_convs(widths, self.upsample_rates, self.upsample_kernels)
        self.resblocks = nn.ModuleList(block(width, *kind) for width in widths[1:] for kind in kinds)
        self.conv_post = WNConv1d(widths[-1], 1, 7, padding=3)
        for conv in (*self.ups, self.conv_post):
            conv.fill_normal(0.01)
        reach = max(block.reach(*kind) for kind in kinds)
        self.context = context(self.upsample_rates, self.upsample_kernels, reach, 3)

    def forward(self, feats: Tensor) -> Tensor:
        self.check(feats)
        if self.projection is not None:
            feats = self.lin_pre(feats)
        return self.upsample(feats.transpose(1, 2))

    def upsample(self, x: Tensor) -> Tensor:
        """Narrowed features (B, C, L) to waveform (B, L·hop)."""
        x = self.conv_pre(x)
        many = len(self.resblock_kernels)
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            x = sum(block(x) for block in self.resblocks[many * stage : many * (stage + 1)]) / many
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE))).flatten(1)

    def fold(self) -> Self:
        fold(self)
        return self

    def remove_weight_norm(self) -> Self:
        """`fold` under its official name."""
        return self.fold()

    def fitting(self, hop: int) -> str:
        return suggest(hop)

    def _check(self) -> None:
        """Raise `UsageError` where the sizes do not fit together."""
        check_stages(self.upsample_rates, self.upsample_kernels, self.channels, self.hop, "HiFiGAN")
        if self.resblock not in (1, 2):
            raise UsageError(f"resblock {self.resblock}", "HiFiGAN", "take 1 (V1, V2) or 2 (V3)")
        check_blocks(self.resblock_kernels, self.resblock_dilations, "HiFiGAN", "resblock")
