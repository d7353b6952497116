"""A language model as it decodes best on a CPU. The models themselves know nothing of it.

    lm = fast.prepare(lm)
    lm.generate(...)

`prepare` gives a model with the same weights whose layers are of the classes below: matrices in the order in which MKL
multiplies them quickly, ternary weights made once, an RMS norm of fewer operations, experts without sorting for a
single position. Besides, a model that rounds (`BitLinear`) attends in double precision, so that its results do not
depend on how they are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab import prepared
from vocolab.lm.backbones.bitnet import UNIT, BitLinear, EightBit, eight_bit, ternary
from vocolab.lm.backbones.cache import AttentionStack, FullAttention, KVCache
from vocolab.lm.backbones.mixtral import Experts, feed_forward
from vocolab.lm.backbones.stack import Stack
from vocolab.lm.backbones.window import WindowAttention, WindowCache
from vocolab.prepared import PreparedLinear

PACKED_ROWS = range(4, 25)  # batches for which MKL's own order of a weight is worth its memory

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
Module = TypeVar("Module", bound=nn.Module)


def prepare(model: Module) -> Module:
    """A twin of `model` in eval that decodes faster on a CPU and computes the same.

    The twin has its own modules and the parameters and buffers of the model: training either, loading into it or moving
    it changes both. Only `load_state_dict(assign=True)`, which gives a model new parameters, leaves the other behind.
    The twin can be trained and saved too; in training and under `torch.compile` its layers compute as the model's do.
    """
    twin = prepared.twin(model, FASTER).eval()
    for part in twin.modules():
        if isinstance(part, Stack):
            part.compiled = None  # the layers below do not compile, and speech has any length
        if isinstance(part, AttentionStack) and any(isinstance(below, BitLinear) for below in part.modules()):
            part.full_attention, part.cache = DoubleAttention, DoubleCache
            part.window_attention, part.window_cache = DoubleWindowAttention, DoubleWindowCache
    return twin


class PackedLinear(PreparedLinear[Tensor]):
    """`nn.Linear`. When a few sequences are decoded together on a CPU in fp32, its weight lies in the order in which
    MKL multiplies it by so many rows: 1.5 times as fast as reordering it in every step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        rows = 0 if self.plain() else x.numel() // self.in_features
        if not self._worth_packing(rows, x):
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkl._mkl_linear(x, self.prepared(rows), self.weight, self.bias, rows)

    def _worth_packing(self, rows: int, x: Tensor) -> bool:
        return (
            rows in PACKED_ROWS
            and x.device.type == self.weight.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkl.is_available()
            and torch.backends.mkldnn.is_available()  # the two operators are built with both
        )

    @torch.no_grad()
    def _prepare(self, rows: int) -> Tensor:
        return torch.ops.mkl._mkl_reorder_linear_weight(self.weight.detach(), rows)


class KeptBitLinear(PreparedLinear[tuple[Tensor, float]], BitLinear):
    """`BitLinear` whose ternary weights are made once, in int8 where the processor multiplies that several times as
    fast.
    """

    def forward(self, x: Tensor | EightBit) -> Tensor:
        """x (..., in), or what `rounds` made of it, -> (..., out)."""
        if self.plain():
            return BitLinear.forward(self, x)
        values, scale, dtype = x if isinstance(x, EightBit) else eight_bit(x)
        matrix, matrix_scale = self.prepared()
        if matrix.dtype == torch.int8:
            product = torch._int_mm(values.to(torch.int8).reshape(-1, self.in_features), matrix)
            product = product.view(*values.shape[:-1], self.out_features) * (scale * matrix_scale)
        else:
            product = F.linear((values / UNIT).to(dtype), matrix.to(dtype)) * (scale * (matrix_scale * UNIT))
        product = product.to(dtype)
        return product if self.bias is None else product + self.bias

    @torch.no_grad()
    def _prepare(self, rows: int) -> tuple[Tensor, float]:
        """int8 (in, out) or float (out, in), and its scale."""
        values, scale = ternary(self.weight.float())
        values = values.to(torch.int8).t() if has_onednn(self.weight) else values.to(self.weight.dtype)
        return values, scale.item()


def has_onednn(weight: Tensor) -> bool:
    """Whether oneDNN multiplies int8 values with AVX-512 where this weight lies; elsewhere those are plain loops."""
    return (
        weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


class QuickRMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` in half as many operations. A step of decoding has two norms a layer; torch's is slow on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not x.is_cpu or x.dtype != torch.float32 or torch.compiler.is_compiling():
            return super().forward(x)
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * (size.square() / x.shape[-1] + self.eps).rsqrt() * self.weight


class StepExperts(Experts):
    """`Experts` that, for a single position, runs its chosen experts one by one and sorts nothing."""

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        if len(x) != 1 or torch.compiler.is_compiling():
            return super().forward(x, chosen, weights)
        shares = [
            weights[:, slot, None] * feed_forward(x, self.gate_up_proj[expert], self.down_proj[expert])
            for slot, expert in enumerate(chosen[0].tolist())
        ]
        return torch.stack(shares).sum(0)


def doubled(attend: Attend, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`attend` of fp32 inputs, computed in double precision.

    Attention over a cache adds in another order than over a whole sequence, and differs by 1e-7. A layer that rounds
    (`BitLinear`) now and then turns that into 1e-2. Computed in double precision and rounded to single, both are equal.
    """
    if q.dtype != torch.float32:
        return attend(index, q, k, v)
    return attend(index, q.double(), k.double(), v.double()).float()


class DoubleAttention(FullAttention):
    """`FullAttention` that computes fp32 inputs in double precision: see `doubled`."""

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return doubled(super().attend, index, q, k, v)


class DoubleCache(KVCache):
    """`KVCache` that computes fp32 inputs in double precision: see `doubled`."""

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return doubled(super().attend, index, q, k, v)


class DoubleWindowAttention(WindowAttention):
    """`WindowAttention` that computes fp32 inputs in double precision: see `doubled`."""

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return doubled(super().attend, index, q, k, v)


class DoubleWindowCache(WindowCache):
    """`WindowCache` that computes fp32 inputs in double precision: see `doubled`."""

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return doubled(super().attend, index, q, k, v)


FASTER: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: PackedLinear,
    BitLinear: KeptBitLinear,
    nn.RMSNorm: QuickRMSNorm,
    Experts: StepExperts,
}
