"""A vocoder as it computes best on a CPU. The vocoders themselves know nothing of it.

    vocoder = fast.prepare(vocoder.fold())

Convolutions run over frames whose channels lie side by side, so that nothing is reordered between them, with their
weights in oneDNN's order; activation and residual are computed where a convolution writes its output.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.prepared import FusedLinear, fusible, twin
from vocolab.vocoders.base import Vocoder
from vocolab.vocoders.hifigan import LAST_SLOPE, SLOPE, HiFiGAN, ResBlock1
from vocolab.vocoders.normed import WNConv1d, WNConvTranspose1d
from vocolab.vocoders.vocos import ConvNeXtBlock

AnyVocoder = TypeVar("AnyVocoder", bound=Vocoder)
PLAN_LENGTH = 4000  # samples for which oneDNN chooses the order of a weight; it fits other lengths too


def prepare(vocoder: AnyVocoder) -> AnyVocoder:
    """A twin of `vocoder`, in eval, that computes the same faster on a CPU.

    The twin has the parameters of `vocoder`: training either, loading into it or moving it changes both; `fold` is for
    before. In training, with gradients, on a GPU and under `torch.compile` it computes as the vocoder does.
    """
    return twin(vocoder, FASTER).eval()


class FusedConv:
    """A convolution of stride 1 that keeps the length, over (B, C, 1, T) with the channels innermost."""

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: int, dilation: int = 1):
        """weight (out, in, kernel)."""
        self.bias = bias
        self.sizes = ((0, padding), (1, 1), (1, dilation), 1)
        shape = [1, weight.shape[1], 1, PLAN_LENGTH]
        # torch's own stub says that it takes one list.
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self.weight = reorder(weight[:, :, None].to_mkldnn(), *self.sizes, shape)

    def __call__(self, x: Tensor) -> Tensor:
        return self._run(x, "none", [])

    def activated(self, x: Tensor, slope: float = SLOPE) -> Tensor:
        """LeakyReLU of the convolution."""
        return self._run(x, "leaky_relu", [slope])

    def plus(self, other: Tensor, x: Tensor) -> Tensor:
        """The convolution of x, plus `other`."""
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, self.weight, self.bias, *self.sizes, "add", 1.0, None, [], ""
        )

    def added(self, total: Tensor, x: Tensor) -> Tensor:
        """`total`, to which the convolution of x was added in place."""
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, self.weight, self.bias, *self.sizes, "add", 1.0, None, [], ""
        )

    def _run(self, x: Tensor, activation: str, numbers: list[float]) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.sizes, activation, numbers, "")


class FusedUp:
    """A transposed convolution as an ordinary one: its `rate` outputs between two inputs are channels of one step."""

    def __init__(self, weight: Tensor, bias: Tensor, rate: int, padding: int):
        """weight (in, out, kernel)."""
        self.rate, self.padding, self.channels = rate, padding, weight.shape[1]
        taps = -(-weight.shape[2] // rate)
        whole = F.pad(weight, (0, taps * rate - weight.shape[2])).unflatten(2, (taps, rate))  # (in, out, taps, rate)
        # Output j of step t takes tap n from input t - n; a convolution meets the oldest input first.
        phases = whole.flip(2).permute(3, 1, 0, 2).flatten(0, 1)  # (rate · out, in, taps)
        self.conv = FusedConv(phases, bias.repeat(rate), taps - 1)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, 1, T) -> (B, C', 1, T · rate)."""
        length = x.shape[3] * self.rate
        steps = self.conv(x).permute(0, 2, 3, 1)  # (B, 1, T + taps - 1, rate · C')
        whole = steps.reshape(len(x), 1, -1, self.channels)
        return whole[:, :, self.padding : self.padding + length].contiguous().permute(0, 3, 1, 2)


class FusedBlock:
    """`ResBlock1`."""

    def __init__(self, block: ResBlock1):
        self.pairs = [(_conv(first), _conv(second)) for first, second in zip(block.convs1, block.convs2, strict=True)]

    def add_to(self, total: Tensor | None, x: Tensor, active: Tensor) -> Tensor:
        """`total` plus the block of x; `active` is LeakyReLU of x."""
        (first, second), *others = self.pairs
        x = second.plus(x, first.activated(active))
        for first, second in others:
            x = second.added(x, first.activated(F.leaky_relu(x, SLOPE)))
        return x if total is None else x.add_(total)


class Fused:
    """All convolutions of a `HiFiGAN` of residual blocks of type 1."""

    def __init__(self, vocoder: HiFiGAN):
        # The mean over the blocks of a stage is their sum here: LeakyReLU lets a factor through, so that the next
        # weights can hold it.
        many = len(vocoder.resblock_kernels)
        self.pre, self.post = _conv(vocoder.conv_pre), _conv(vocoder.conv_post, 1 / many)
        self.ups = [_up(up, 1.0 if stage == 0 else 1 / many) for stage, up in enumerate(vocoder.ups)]
        blocks = [FusedBlock(block) for block in vocoder.resblocks if isinstance(block, ResBlock1)]
        self.stages = [blocks[i : i + many] for i in range(0, len(blocks), many)]

    def __call__(self, feats: Tensor) -> Tensor:
        """feats (B, L, C), narrowed already -> (B, T)."""
        x = self.pre.activated(feats[:, None].permute(0, 3, 1, 2))  # (B, C, 1, L), channels innermost
        for stage, (up, blocks) in enumerate(zip(self.ups, self.stages, strict=True), 1):
            x = up(x)
            active, total = F.leaky_relu(x, SLOPE), None
            for block in blocks:
                total = block.add_to(total, x, active)
            assert total is not None
            last = stage == len(self.stages)
            x = F.leaky_relu_(total, LAST_SLOPE if last else SLOPE)
        return torch.tanh_(self.post(x)).flatten(1)


class FastHiFiGAN(HiFiGAN):
    """`HiFiGAN` through `Fused`."""

    _kept: tuple[tuple, Fused] | None = None

    def forward(self, feats: Tensor) -> Tensor:
        if self._plain(feats):
            return super().forward(feats)
        self.check(feats)
        if self.projection is not None:
            feats = self.lin_pre(feats)
        return self._fused()(feats)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}  # a copy makes its own

    def _plain(self, feats: Tensor) -> bool:
        """Whether to compute as the vocoder does."""
        return self.training or self.resblock != 1 or not fusible(feats, self.conv_post.kernel())

    def _fused(self) -> Fused:
        """Made anew after a change of any weight."""
        state = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.parameters())
        if self._kept is None or self._kept[0] != state:
            self._kept = state, Fused(self)
        return self._kept[1]


class FastConvNeXtBlock(ConvNeXtBlock):
    """`ConvNeXtBlock` whose GELU is computed where the product writes it."""

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix(x.transpose(1, 2)).transpose(1, 2)  # (B, L, D)
        assert isinstance(self.widen, FusedLinear)
        return x + self.scale * self.narrow(self.widen.gelu(self.norm(mixed)))


def _conv(conv: nn.Module, factor: float = 1.0) -> FusedConv:
    """Of a convolution whose input is `factor` times what comes."""
    assert isinstance(conv, WNConv1d) and not isinstance(conv.padding, str)
    bias = None if conv.bias is None else conv.bias.detach()
    return FusedConv(conv.kernel().detach() * factor, bias, conv.padding[0], conv.dilation[0])


def _up(up: nn.Module, factor: float) -> FusedUp:
    assert isinstance(up, WNConvTranspose1d) and up.bias is not None and not isinstance(up.padding, str)
    return FusedUp(up.kernel().detach() * factor, up.bias.detach(), up.stride[0], up.padding[0])


FASTER: dict[type[nn.Module], type[nn.Module]] = {
    HiFiGAN: FastHiFiGAN,
    ConvNeXtBlock: FastConvNeXtBlock,
    nn.Linear: FusedLinear,
}
