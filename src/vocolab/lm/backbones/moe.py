"""A mixture of experts without a capacity: each position is computed by its likeliest experts, however many others
choose them.

Experts of limited capacity drop positions; a row's result then depends on its batch and on later positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.errors import UsageError
from vocolab.lm.backbones.compiled import uncompiled
from vocolab.lm.backbones.layers import Linear, SwiGLU


def route(logits: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Router logits (N, E) -> experts (N, top), their weights (N, top) that sum to 1, all probabilities (N, E)."""
    probabilities = F.softmax(logits.float(), -1)
    weights, experts = probabilities.topk(top, -1)
    return experts, weights / weights.sum(-1, keepdim=True), probabilities


def balance_loss(experts: Tensor, probabilities: Tensor, real: Tensor | None = None) -> Tensor:
    """E · Σ f_e P_e: the share of positions an expert gets times its mean probability (Switch transformer, 2.2).

    `real` (N,): the positions that count. The loss is `top` where all experts get an equal share.
    """
    each = torch.arange(probabilities.shape[-1], device=experts.device)
    chosen = (experts[..., None] == each).sum(-2).to(probabilities)  # (N, E)
    weight = torch.ones_like(chosen[:, 0]) if real is None else real.to(chosen)
    weight = weight / weight.sum().clamp(min=1)
    return probabilities.shape[-1] * ((weight @ chosen) * (weight @ probabilities)).sum()


def places(chosen: Tensor, experts: int) -> Sequence[Tensor]:
    """For each expert the places in `chosen.flatten()`, chosen (N, top), at which it stands, in ascending order. Where
    the choices lie on a GPU, it is waited for once.
    """
    flat = chosen.flatten()
    counts = (flat[:, None] == torch.arange(experts, device=flat.device)).sum(0)
    return flat.argsort(stable=True).split(counts.tolist())


def mix(x: Tensor, chosen: Tensor, weights: Tensor, experts: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """x (N, D) -> (N, D): the sum of what each position's `chosen` experts (N, top) make of it, with its `weights`."""
    mixed, flat = torch.zeros_like(x), weights.flatten()
    for expert, place in zip(experts, places(chosen, len(experts)), strict=True):
        if len(place):
            position = place // chosen.shape[1]
            share = flat[place, None] * expert(x[position])
            mixed = mixed.index_add(0, position, share.to(mixed.dtype))
    return mixed


class Mixture(nn.Module):
    """`experts` SwiGLU layers, of which each position uses `top`."""

    def __init__(self, dim: int, ffn: int, experts: int, top: int = 2, linear: Linear = None) -> None:
        super().__init__()
        if not 1 <= top <= experts:
            raise UsageError(f"a position cannot use {top} of {experts} experts", "experts", "give more")
        self.top = top
        # An ordinary layer whatever `linear` is: with ternary weights it hardly tells experts apart.
        self.router = nn.Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(SwiGLU(dim, ffn, linear) for _ in range(experts))

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, L, D), real (B, L) bool -> (B, L, D) and the balance loss of the real positions."""
        flat = x.flatten(0, 1)
        chosen, weights, probabilities = route(self.router(flat), self.top)
        mixed = uncompiled(mix)(flat, chosen, weights.to(x.dtype), list(self.experts))
        loss = balance_loss(chosen, probabilities, None if real is None else real.flatten())
        return mixed.view_as(x), loss
