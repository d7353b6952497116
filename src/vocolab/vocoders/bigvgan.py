"""BigVGAN's generator (Lee et al. 2023, https://arxiv.org/abs/2206.04658): HiFi-GAN with periodic activations that do
not alias.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from vocolab.errors import UsageError
from vocolab.vocoders.base import Vocoder
from vocolab.vocoders.normed import WNConv1d, fold
from vocolab.vocoders.snake import REACH, AntiAliased, Snake, SnakeBeta
from vocolab.vocoders.upsampling import check_blocks, check_stages, context, same_conv, suggest, up_convs

ACTIVATIONS: dict[str, type[nn.Module]] = {"snake": Snake, "snakebeta": SnakeBeta}


class AMPBlock(nn.Module):
    """Anti-aliased multi-periodicity composition: pairs of an activation and a convolution, with a residual around two.

    The first convolution of each two is dilated.
    """

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int], act: type[nn.Module]):
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel, 1) for _ in dilations)
        self.activations = nn.ModuleList(AntiAliased(act(channels)) for _ in range(2 * len(dilations)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        acts1, acts2 = self.activations[::2], self.activations[1::2]
        for act1, conv1, act2, conv2 in zip(acts1, self.convs1, acts2, self.convs2, strict=True):
            x = x + conv2(act2(conv1(act1(x))))
        return x

    @staticmethod
    def reach(kernel: int, dilations: Sequence[int]) -> int:
        """Samples on each side that an output sample depends on."""
        return sum((kernel - 1) // 2 * (dilation + 1) + 2 * REACH for dilation in dilations)


class BigVGAN(Vocoder):
    """Transposed convolutions, each followed by parallel `AMPBlock`s whose outputs are averaged.

    The defaults are the large model's with rates for 50 frames/s at 16 kHz, and a linear layer that narrows wide
    encoder features to `projection`; with None they go into the first convolution, as mels do in the published models.
    `final_tanh` and `final_bias` are True in the first version and False in the second, which clips instead.
    Raises `UsageError` for sizes that do not fit together.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        projection: int | None = 512,
        channels: int = 1536,
        upsample_rates: Sequence[int] = (5, 4, 2, 2, 2, 2),
        upsample_kernels: Sequence[int] = (11, 8, 4, 4, 4, 4),
        block_kernels: Sequence[int] = (3, 7, 11),
        block_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        activation: Literal["snake", "snakebeta"] = "snakebeta",
        final_tanh: bool = True,
        final_bias: bool = True,
        sample_rate: int = 16000,
        hop: int | None = None,
    ):
        super().__init__()
        self.in_channels, self.projection, self.channels = in_channels, projection, channels
        self.upsample_rates, self.upsample_kernels = tuple(upsample_rates), tuple(upsample_kernels)
        self.block_kernels = tuple(block_kernels)
        self.block_dilations = tuple(tuple(dilations) for dilations in block_dilations)
        self.activation, self.final_tanh, self.final_bias = activation, final_tanh, final_bias
        self.sample_rate, self.hop = sample_rate, hop or math.prod(upsample_rates)
        self._check()

        act = ACTIVATIONS[activation]
        kinds = list(zip(self.block_kernels, self.block_dilations, strict=True))
        widths = [channels >> i for i in range(len(self.upsample_rates) + 1)]
        if projection is not None:
            self.lin_pre = nn.Linear(in_channels, projection)
        self.conv_pre = WNConv1d(projection or in_channels, channels, 7, padding=3)
        self.ups = up_convs(widths, self.upsample_rates, self.upsample_kernels)
        self.resblocks = nn.ModuleList(AMPBlock(width, *kind, act) for width in widths[1:] for kind in kinds)
        self.activation_post = AntiAliased(act(widths[-1]))
        self.conv_post = WNConv1d(widths[-1], 1, 7, padding=3, bias=final_bias)
        for conv in (*self.ups, self.conv_post):
            conv.fill_normal(0.01)
        reach = max(AMPBlock.reach(*kind) for kind in kinds)
        self.context = context(self.upsample_rates, self.upsample_kernels, reach, 3 + REACH)

    def forward(self, feats: Tensor) -> Tensor:
        self.check(feats)
        if self.projection is not None:
            feats = self.lin_pre(feats)
        x = self.conv_pre(feats.transpose(1, 2))  # (B, C, L)
        many = len(self.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up(x)
            x = sum(block(x) for block in self.resblocks[many * stage : many * (stage + 1)]) / many
        wav = self.conv_post(self.activation_post(x)).squeeze(1)  # (B, L·hop)
        return torch.tanh(wav) if self.final_tanh else wav.clamp(-1.0, 1.0)

    def fold(self) -> Self:
        fold(self)
        return self

    def fitting(self, hop: int) -> str:
        return suggest(hop)

    def _check(self) -> None:
        """Raise `UsageError` where the sizes do not fit together."""
        check_stages(self.upsample_rates, self.upsample_kernels, self.channels, self.hop, "BigVGAN")
        if self.activation not in ACTIVATIONS:
            raise UsageError(f"activation {self.activation!r}", "BigVGAN", f"take one of {', '.join(ACTIVATIONS)}")
        check_blocks(self.block_kernels, self.block_dilations, "BigVGAN", "block")
