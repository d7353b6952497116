"""Mixtral (Jiang et al. 2024): Llama whose feed-forward layers are mixtures of experts, two a position.

The weights are laid out as in transformers' `MixtralModel`: the experts of a layer are one tensor. Experts have no
capacity, so a row's result depends neither on its batch nor on later positions.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.errors import UsageError
from vocolab.lm.backbones.compiled import uncompiled
from vocolab.lm.backbones.layers import Linear
from vocolab.lm.backbones.llama import Llama
from vocolab.lm.backbones.moe import balance_loss, mix, route


class Router(nn.Module):
    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, D) -> logits (N, E)."""
        return F.linear(x, self.weight)


class Experts(nn.Module):
    """All experts of a layer; gate and up of each lie in one matrix."""

    def __init__(self, dim: int, ffn: int, experts: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * ffn, dim))
        self.down_proj = nn.Parameter(torch.empty(experts, dim, ffn))

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """x (N, D) -> (N, D): the sum of each position's `chosen` experts (N, top), with its `weights`."""
        # Unbound once: the gradient of `self.down_proj[expert]` would be as large as all experts, for each expert.
        matrices = zip(self.gate_up_proj.unbind(0), self.down_proj.unbind(0), strict=True)
        return mix(x, chosen, weights, [partial(feed_forward, gate_up=up, down=down) for up, down in matrices])


def feed_forward(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """x (N, D) -> (N, D) by one expert."""
    gate, up = F.linear(x, gate_up).chunk(2, -1)
    return F.linear(F.silu(gate) * up, down)


class SparseFeedForward(nn.Module):
    def __init__(self, dim: int, ffn: int, experts: int, top: int) -> None:
        super().__init__()
        self.top = top
        self.gate = Router(dim, experts)
        self.experts = Experts(dim, ffn, experts)

    def forward(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, L, D) -> (B, L, D) and, where real (B, L) tells which positions count, the balance loss."""
        flat = x.flatten(0, 1)  # (N, D)
        chosen, weights, probabilities = route(self.gate(flat), self.top)
        mixed = uncompiled(self.experts)(flat, chosen, weights.to(x.dtype))
        return mixed.view_as(x), None if real is None else balance_loss(chosen, probabilities, real.flatten())


class Mixtral(Llama):
    """`experts`: how many each layer has; `top`: how many of them a position uses. `linear` is the class of the
    attention's matrices. The balance loss is the mean over the layers.
    """

    theta = 1e6
    eps = 1e-5

    def __init__(
        self,
        dim: int = 512,
        heads: int = 8,
        layers: int = 12,
        ffn: int | None = None,
        dropout: float = 0.1,
        gradient_checkpointing: bool = False,
        linear: Linear = None,
        experts: int = 8,
        top: int = 2,
        attention_dropout: float = 0.0,
    ) -> None:
        if not 1 <= top <= experts:
            raise UsageError(
                f"a position cannot use {top} of {experts} experts", "top", "give more experts, or a smaller top"
            )
        self.experts, self.top = experts, top
        super().__init__(dim, heads, layers, ffn, dropout, gradient_checkpointing, linear, attention_dropout)

    def _feed_forward(self, ffn: int, Matrix: type[nn.Linear]) -> nn.Module:
        return SparseFeedForward(self.dim, ffn, self.experts, self.top)
