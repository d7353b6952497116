"""Layers for the step of a static state: nothing waits for the device, and what a step reads of the weights is made
once.

- Matrices that read the same input (q, k, v; gate and up) are multiplied as one.
- Ternary weights (`BitLinear`) are made once.
- Under autocast, the weights are converted once.
- All experts compute every position, and the share of those not chosen is 0. A choice would have to be known to the
  host. It costs a step little: reading the experts takes the time, and a batch of some rows reads nearly all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab import prepared
from vocolab.lm import fast
from vocolab.lm.backbones import llama
from vocolab.lm.backbones.bitnet import UNIT, BitLinear, EightBit, eight_bit, ternary
from vocolab.lm.backbones.mixtral import Experts
from vocolab.lm.backbones.moe import Mixture, route

Module = TypeVar("Module", bound=nn.Module)
Products = Callable[[Any], Sequence[Tensor]]


def step_model(model: Module, dtype: torch.dtype | None) -> Module:
    """A twin of `model`, with its parameters, that computes steps as above; `dtype`: that of autocast, None where it is
    off.

    It keeps what it makes of the weights: make another one when they have changed.
    """
    twin = prepared.twin(model, LAYERS)
    for part in twin.modules():
        if isinstance(part, StepLinear | StepBitLinear | DenseExperts):
            part.settle(dtype)
    for part in twin.modules():
        if isinstance(part, llama.Attention):
            join(part.q_proj, part.k_proj, part.v_proj)
        elif isinstance(part, llama.FeedForward):
            join(part.gate_proj, part.up_proj)
    return twin


def join(*matrices: nn.Module) -> None:
    """Let `layers.project` multiply by all of them at once, where they are of one class that can."""
    first = matrices[0]
    if isinstance(first, StepLinear | StepBitLinear) and all(type(matrix) is type(first) for matrix in matrices):
        first.joined = first.join(matrices)


class StepLinear(nn.Linear):
    """`nn.Linear` whose weight has the dtype of autocast."""

    joined: Products | None = None  # of several matrices, see `join`

    def settle(self, dtype: torch.dtype | None) -> None:
        self.read = _converted(self.weight, dtype)
        self.added = None if self.bias is None else _converted(self.bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return F.linear(x, self.read, self.added)

    @staticmethod
    def join(matrices: Sequence[Any]) -> Products:
        read, sizes = torch.cat([matrix.read for matrix in matrices]), [len(matrix.read) for matrix in matrices]
        added = None if matrices[0].added is None else torch.cat([matrix.added for matrix in matrices])
        return lambda x: F.linear(x, read, added).split(sizes, -1)


class StepBitLinear(BitLinear):
    """`BitLinear` whose ternary weight is made once."""

    joined: Products | None = None

    def settle(self, dtype: torch.dtype | None) -> None:
        values, scale = ternary(self.weight.detach().float())
        self.read = values.to(dtype or self.weight.dtype)
        self.scale = (scale * UNIT).expand(self.out_features)

    def forward(self, x: Tensor | EightBit) -> Tensor:
        """x (..., in), or what `rounds` made of it, -> (..., out)."""
        product = ternary_product(x, self.read, self.scale)
        return product if self.bias is None else product + self.bias

    @staticmethod
    def join(matrices: Sequence[Any]) -> Products | None:
        if any(matrix.bias is not None for matrix in matrices):
            return None
        read, sizes = torch.cat([matrix.read for matrix in matrices]), [len(matrix.read) for matrix in matrices]
        scale = torch.cat([matrix.scale for matrix in matrices])
        return lambda x: ternary_product(x, read, scale).split(sizes, -1)


def ternary_product(x: Tensor | EightBit, matrix: Tensor, matrix_scale: Tensor) -> Tensor:
    """x (..., in) times a ternary matrix (out, in), whose rows have the scales (out,)."""
    values, scale, dtype = x if isinstance(x, EightBit) else eight_bit(x)
    product = F.linear((values / UNIT).to(matrix.dtype), matrix)
    return (product * (scale * matrix_scale)).to(dtype)


class DenseExperts(Experts):
    """`Experts`, all of which compute every position."""

    def settle(self, dtype: torch.dtype | None) -> None:
        self.gate_up, self.down = _converted(self.gate_up_proj, dtype), _converted(self.down_proj, dtype)

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        share = weights.new_zeros(len(x), len(self.down)).scatter(1, chosen, weights)  # (N, E)
        each = x.to(self.down.dtype).expand(len(self.down), -1, -1)  # (E, N, D)
        gate, up = torch.bmm(each, self.gate_up.transpose(1, 2)).chunk(2, -1)
        mixed = torch.bmm(F.silu(gate) * up, self.down.transpose(1, 2))  # (E, N, D)
        return (share.t()[:, :, None] * mixed).sum(0).to(x.dtype)


class DenseMixture(Mixture):
    """`Mixture`, all of whose experts compute every position. The balance loss, which no step needs, is 0."""

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, 1)
        chosen, weights, _ = route(self.router(flat), self.top)
        mixed = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            share = (weights * (chosen == number)).sum(-1, keepdim=True)
            mixed = mixed + (share.to(x.dtype) * expert(flat)).to(x.dtype)
        return mixed.view_as(x), x.new_zeros(())


def _converted(weight: Tensor, dtype: torch.dtype | None) -> Tensor:
    return weight.detach() if dtype is None else weight.detach().to(dtype)


MADE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: StepLinear,
    BitLinear: StepBitLinear,
    Experts: DenseExperts,
    Mixture: DenseMixture,
}
# A model that `fast.prepare` has been at has its classes.
LAYERS = MADE | {fast.FASTER[kind]: made for kind, made in MADE.items() if kind in fast.FASTER}
