"""BitNet b1.58 (Ma et al. 2024): Llama whose matrices hold only -1, 0 and 1, and whose activations are 8-bit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.lm.backbones.layers import Linear
from vocolab.lm.backbones.llama import Llama

EPSILON = 1e-6
UNIT = 128  # 8-bit values are multiplied as multiples of 1/128, so that no sum of products overflows fp16


class EightBit(NamedTuple):
    """Activations as whole numbers from -127 to 127 and a scale each position: x / rms(x) ≈ values · scale."""

    values: Tensor  # (..., C)
    scale: Tensor  # (..., 1)
    dtype: torch.dtype  # of x


def eight_bit(x: Tensor) -> EightBit:
    """x (..., C), RMS-normed and rounded; the gradient is that of the norm (straight-through).

    The largest value becomes 127 whether x is normed or not, so the norm enters the scale alone.
    """
    dtype, x = x.dtype, x.float()
    with torch.no_grad():
        peak = torch.linalg.vector_norm(x, torch.inf, -1, keepdim=True).clamp(min=1e-8)
        size = torch.linalg.vector_norm(x, 2, -1, keepdim=True)
        values = (x * (127 / peak)).round_()
        width = x.shape[-1]
        scale = peak / torch.hypot(size, size.new_full((), (width * EPSILON) ** 0.5)) * (width**0.5 / 127)
    if x.requires_grad:
        values = straight_through(values, F.rms_norm(x, (width,), eps=EPSILON) / scale)
    return EightBit(values, scale, dtype)


def ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as -1, 0, 1 and one scale, its mean magnitude: weight ≈ values · scale. The gradient of values · scale
    is that of the weight (straight-through).
    """
    inverse = 1 / weight.detach().abs().mean().clamp(min=1e-5)
    scaled = weight * inverse
    return straight_through(scaled.detach().round().clamp_(-1, 1), scaled), 1 / inverse


def straight_through(value: Tensor, of: Tensor) -> Tensor:
    """`value`, exactly, with the gradient of `of`."""
    return value + (of - of.detach()) if of.requires_grad else value


class BitLinear(nn.Linear):
    """RMS norm without gain, 8-bit activations times ternary weights (b1.58); goes wherever `nn.Linear` does.

    The products are sums of whole numbers, hence exact: the same for a row alone and in a batch.
    """

    rounds = staticmethod(eight_bit)  # what is done to its input; see `layers.project`

    def forward(self, x: Tensor | EightBit) -> Tensor:
        """x (..., in), or what `rounds` made of it, -> (..., out)."""
        values, scale, dtype = x if isinstance(x, EightBit) else eight_bit(x)
        matrix, matrix_scale = ternary(self.weight.float())
        product = F.linear((values / UNIT).to(dtype), matrix.to(dtype)) * (scale * (matrix_scale * UNIT))
        product = product.to(dtype)
        return product if self.bias is None else product + self.bias


class BitNet(Llama):
    """Llama with `BitLinear` for every matrix; each matrix so has a norm before it, `o_proj` and `down_proj` too.

    Rounding can turn a difference of 1e-7 into one of 1e-2. With the model that `vocolab.lm.fast.prepare` gives,
    decoding (in a batch or alone) equals the pass over the whole sequence to the bit; `vocolab.TTS` uses that model.
    """

    def __init__(
        self,
        dim: int = 512,
        heads: int = 8,
        layers: int = 12,
        ffn: int | None = None,
        dropout: float = 0.1,
        gradient_checkpointing: bool = False,
        linear: Linear = BitLinear,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, layers, ffn, dropout, gradient_checkpointing, linear, attention_dropout)
