"""A vocoder and its discriminators as a GPU trains them best. They themselves know nothing of it.

    vocoder, discriminator = channels_last.prepare(vocoder), channels_last.prepare(discriminator)

A GPU's matrix units want the channels of a sample side by side (NHWC). torch keeps 1-D convolutions the other way
round, so that cuDNN turns most of their inputs and outputs. Here a network's tensors are 4-D, (B, C, 1, T) with the
channels innermost, from its first convolution to its last, and each weight is normalised, cast to autocast's type and
laid out once a pass.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.prepared import twin
from vocolab.vocoders.discriminators import Judgement, PeriodConv, ScaleNet, SpectrogramConv
from vocolab.vocoders.hifigan import HiFiGAN
from vocolab.vocoders.normed import Normed, SNConv1d, WNConv1d, WNConvTranspose1d

Network = TypeVar("Network", bound=nn.Module)


def prepare(network: Network) -> Network:
    """A twin of `network` that computes the same in channels-last layout, with the parameters and buffers of `network`:
    training either changes both.

    Make it after `network` was moved to its device and put into training: the twin does not follow. Parts of a kind
    that is not known here stay as they are.
    """
    made = twin(network, NETWORKS)
    for part in made.modules():
        if isinstance(part, tuple(NETWORKS.values())):
            for conv in part.modules():
                conv.__class__ = CONVOLUTIONS.get(type(conv), type(conv))
    return made


class LaidOut(Normed):
    """Mixin over a convolution whose `kernel()` is (out, in, 1, k), in autocast's type, with the channels innermost."""

    def kernel(self) -> Tensor:
        weight = super().kernel()
        return weight if weight is self._frozen else self.lay_out(weight)

    def lay_out(self, weight: Tensor) -> Tensor:
        """Of the convolution's own weight (out, in, k)."""
        return _channels_last(weight[:, :, None])


class Conv1d(LaidOut, WNConv1d):
    """`WNConv1d` over (B, C, 1, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return _conv(self, x)


class SpectralConv1d(LaidOut, SNConv1d):
    """`SNConv1d` over (B, C, 1, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return _conv(self, x)


class ConvTranspose1d(LaidOut, WNConvTranspose1d):
    """`WNConvTranspose1d` over (B, C, 1, T)."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None and not isinstance(self.padding, str)
        sizes = (1, self.stride[0]), (0, self.padding[0]), (0, self.output_padding[0])
        return F.conv_transpose2d(x, self.kernel(), self.bias, *sizes, self.groups, (1, self.dilation[0]))


class ColumnConv(LaidOut, PeriodConv):
    """`PeriodConv`, whose input is (B, C, period, T / period) already."""

    def lay_out(self, weight: Tensor) -> Tensor:
        return _channels_last(weight.transpose(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        assert not isinstance(self.padding, str)
        return F.conv2d(x, self.kernel(), self.bias, self.stride[::-1], self.padding[::-1])


class ImageConv(LaidOut, SpectrogramConv):
    """`SpectrogramConv`, whose input is in this layout already."""

    def lay_out(self, weight: Tensor) -> Tensor:
        return _channels_last(weight)


class ChannelsLastHiFiGAN(HiFiGAN):
    """`HiFiGAN` over (B, C, 1, T)."""

    def upsample(self, x: Tensor) -> Tensor:
        return super().upsample(x[:, :, None])  # frames of features, transposed: the channels are innermost already


class ChannelsLastScaleNet(ScaleNet):
    """`ScaleNet` over (B, C, 1, T)."""

    def forward(self, wav: Tensor) -> Judgement:
        return super().forward(wav[:, :, None])


NETWORKS: dict[type[nn.Module], type[nn.Module]] = {
    HiFiGAN: ChannelsLastHiFiGAN,
    ScaleNet: ChannelsLastScaleNet,
    PeriodConv: ColumnConv,
    SpectrogramConv: ImageConv,
}
# Inside `NETWORKS` alone: what calls them there hands them 4-D tensors.
CONVOLUTIONS: dict[type[nn.Module], type[nn.Module]] = {
    WNConv1d: Conv1d,
    SNConv1d: SpectralConv1d,
    WNConvTranspose1d: ConvTranspose1d,
}


def _conv(conv: Conv1d | SpectralConv1d, x: Tensor) -> Tensor:
    assert not isinstance(conv.padding, str)
    sizes = (1, conv.stride[0]), (0, conv.padding[0]), (1, conv.dilation[0])
    return F.conv2d(x, conv.kernel(), conv.bias, *sizes, conv.groups)


def _channels_last(weight: Tensor) -> Tensor:
    device = weight.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return weight.to(dtype, memory_format=torch.channels_last)
