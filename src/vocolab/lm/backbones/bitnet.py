"""BitNet b1.58 (Ma et al. 2024): Llama whose matrices hold only -1, 0 and 1, and whose activations are 8-bit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.lm.backbones.layers import Linear
from vocolab.lm.backbones.llama import Llama

EPSILON = 1e-6
UNIT = 128  # 8-bit values are handled as multiples of 1/128, so that no sum of products overflows fp16


def ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as -1, 0, 1 and one scale, its mean magnitude: weight ≈ values · scale. Straight-through: the gradient
    of values · scale is that of the weight.
    """
    inverse = 1 / weight.detach().abs().mean().clamp(min=1e-5)
    scaled = weight * inverse
    return straight_through(scaled.round().clamp(-1, 1), scaled), 1 / inverse


def eight_bit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations (..., C) as whole numbers from -127 to 127 and a scale (..., 1) each position: x ≈ values · scale.
    Straight-through as `ternary`.
    """
    inverse = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
    scaled = x * inverse
    return straight_through(scaled.round(), scaled), 1 / inverse


def straight_through(value: Tensor, of: Tensor) -> Tensor:
    """`value`, with the gradient of `of`. The sum is exact: the two are near each other."""
    return of + (value - of).detach() if of.requires_grad else value


class Ready(NamedTuple):
    """A quantised matrix, and what it was made of."""

    values: Tensor  # (out, in): -1, 0, 1
    scale: Tensor
    weight: Tensor
    version: tuple[int, int]


class BitLinear(nn.Linear):
    """RMS norm without gain, 8-bit activations times ternary weights (b1.58); goes wherever `nn.Linear` does.

    The products are sums of whole numbers, hence exact: the same for a row alone and in a batch. In eval the ternary
    weights are kept, until the weight changes or training begins.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._ready: Ready | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        values, scale = eight_bit(F.rms_norm(x.float(), (self.in_features,), eps=EPSILON))
        if self.training or torch.is_grad_enabled():
            matrix, matrix_scale = ternary(self.weight.float())
        else:
            matrix, matrix_scale, *_ = self.ready()
        if matrix.dtype == torch.int8:
            product = torch._int_mm(values.to(torch.int8).flatten(0, -2), matrix.t()).view(*x.shape[:-1], -1)
            product = product * (scale * matrix_scale)
        else:
            product = F.linear((values / UNIT).to(x.dtype), matrix.to(x.dtype)) * (scale * (matrix_scale * UNIT))
        product = product.to(x.dtype)
        return product if self.bias is None else product + self.bias

    def ready(self) -> Ready:
        """The weight as it is now, quantised once: in int8 where the processor multiplies it several times as fast."""
        version = (self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version)
        if self._ready is None or self._ready.weight is not self.weight or self._ready.version != version:
            values, scale = ternary(self.weight.detach().float())
            values = values.to(torch.int8 if _multiplies_int8(self.weight) else self.weight.dtype)
            self._ready = Ready(values, scale, self.weight, version)
        return self._ready

    def train(self, mode: bool = True) -> BitLinear:
        self._ready = None
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> BitLinear:  # another device or dtype
        self._ready = None
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_ready": None}  # a copy quantises its own


def _multiplies_int8(weight: Tensor) -> bool:
    """oneDNN has quick int8 products for AVX-512; elsewhere it falls back to plain loops."""
    return (
        weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


class BitNet(Llama):
    """Llama with `BitLinear` for every matrix: its inner norm also stands before `o_proj` and `down_proj`."""

    def __init__(
        self,
        dim: int = 512,
        heads: int = 8,
        layers: int = 12,
        ffn: int | None = None,
        dropout: float = 0.1,
        gradient_checkpointing: bool = False,
        linear: Linear = BitLinear,
    ) -> None:
        super().__init__(dim, heads, layers, ffn, dropout, gradient_checkpointing, linear)
