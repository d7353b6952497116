"""The plain transformer of VALL-E: pre-norm blocks, sinusoidal positions, GELU; adaptive layer norm in its NAR."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.lm.backbones.base import Output
from vocolab.lm.backbones.cache import Attending, AttentionStack
from vocolab.lm.backbones.dropout import Dropout
from vocolab.lm.backbones.layers import Linear, initialise, linear_class, merge_heads, repeating, split_heads
from vocolab.lm.backbones.stack import Context


def sinusoids(positions: Tensor, dim: int, period: int | None = None) -> Tensor:
    """Positions (B, L) -> (B, L, dim): sines, then cosines, of wavelengths 2π to 20,000π (Vaswani et al. 2017, 3.5).

    `period`: the positions repeat after so many.
    """
    index = torch.arange(dim // 2, dtype=torch.float32, device=positions.device)
    rates = torch.exp(index * (-math.log(10000) / (dim / 2)))
    angles = positions[..., None] * repeating(rates, period)
    return torch.cat([angles.sin(), angles.cos()], -1)


class AdaptiveNorm(nn.Module):
    """Layer norm whose gain and shift depend on the codebook level (VALL-E, 4.2.2; AdaNorm, Xu et al. 2019)."""

    def __init__(self, levels: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.levels = nn.Embedding(levels, 2 * dim)  # log gain and shift; zero, so that training begins without a level
        nn.init.zeros_(self.levels.weight)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x (B, L, D), level (B,)."""
        log_gain, shift = self.levels(level)[:, None].chunk(2, -1)  # (B, 1, D)
        x = F.layer_norm(x, (self.dim,))
        x = 2 * (1 - (0.1 * x).detach()) * x  # AdaNorm: C (1 - k x) x, no gradient through the bracket
        return log_gain.exp() * x + shift


class PlainNorm(nn.LayerNorm):
    """Layer norm that ignores the level."""

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        return super().forward(x)


def make_norm(dim: int, adaptive_levels: int) -> nn.Module:
    return AdaptiveNorm(adaptive_levels, dim) if adaptive_levels else PlainNorm(dim)


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, ffn: int, dropout: float, linear: Linear, adaptive_levels: int) -> None:
        super().__init__()
        Matrix = linear_class(linear)
        self.heads = heads
        self.attention_norm = make_norm(dim, adaptive_levels)
        self.qkv = Matrix(dim, 3 * dim)
        self.out = Matrix(dim, dim)
        self.ffn_norm = make_norm(dim, adaptive_levels)
        self.up = Matrix(dim, ffn)
        self.down = Matrix(ffn, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, context: Attending, index: int, level: Tensor | None) -> tuple[Tensor, None]:
        """x (B, L, D) -> (B, L, D); `index`: the layer, for the context."""
        q, k, v = split_heads(self.qkv(self.attention_norm(x, level)), self.heads, 3)
        x = x + self.dropout(self.out(merge_heads(context.attend(index, q, k, v))))
        hidden = self.dropout(F.gelu(self.up(self.ffn_norm(x, level))))
        return x + self.dropout(self.down(hidden)), None


class Transformer(AttentionStack):
    """`adaptive_levels` above 0: that many codebook levels, told to every norm (AdaLN). Where no level is given, it is
    level 0, the one that is decoded step by step.
    """

    def __init__(
        self,
        dim: int = 512,
        heads: int = 8,
        layers: int = 12,
        ffn: int | None = None,
        dropout: float = 0.1,
        gradient_checkpointing: bool = False,
        linear: Linear = None,
        adaptive_levels: int = 0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, layers, ffn, dropout, gradient_checkpointing, linear)
        self.adaptive_levels, self.attention_dropout = adaptive_levels, attention_dropout
        self.blocks = nn.ModuleList(
            Block(dim, heads, ffn or 4 * dim, dropout, linear, adaptive_levels) for _ in range(layers)
        )
        self.norm = make_norm(dim, adaptive_levels)
        # Learned (Li et al. 2019, 3.2), and small at first: sinusoids of amplitude 1 drown the tokens, and a small
        # model then needs four times as many updates.
        self.position_scale = nn.Parameter(torch.tensor(0.1))
        initialise(self, residual=("out", "down"), layers=layers)

    def pass_through(self, x: Tensor, context: Context, real: Tensor | None, level: Tensor | None) -> Output:
        if self.adaptive_levels and level is None:
            level = x.new_zeros(x.shape[0], dtype=torch.long)
        x = x + self.position_scale * sinusoids(context.positions, self.dim, context.period).to(x.dtype)
        x, _ = self.run(self.blocks, x, context, level)
        return Output(self.norm(x, level))
