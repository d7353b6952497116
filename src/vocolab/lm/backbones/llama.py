"""Llama (Touvron et al. 2023): RMS norms, rotary positions, gated feed-forward layers, no biases.

The weights have the names, shapes and first values of transformers' `LlamaModel`, so that those of `Llama.model` go one
to one into it and back; the blocks are written here because they also see both ways, and decode with one cache shared
by all backbones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.lm.backbones.base import Output
from vocolab.lm.backbones.cache import Attending, AttentionStack
from vocolab.lm.backbones.dropout import Dropout
from vocolab.lm.backbones.layers import Linear, linear_class, merge_heads, project, repeating
from vocolab.lm.backbones.stack import Context


def rotation(
    positions: Tensor, width: int, theta: float, dtype: torch.dtype, period: int | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (B, 1, L, width) that turn channel i with channel i + width / 2 (RoFormer, 3.2.2).

    `period`: the positions repeat after so many.
    """
    rates = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32, device=positions.device) / width)
    angles = positions[:, None, :, None] * repeating(rates, period)  # (B, 1, L, width / 2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1).to(dtype), torch.cat([-sin, sin], -1).to(dtype)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x (..., B, H, L, width), turned by its position."""
    cos, sin = turn
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([second, first], -1) * sin


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, Matrix: type[nn.Linear]) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Matrix(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor, context: Attending, index: int, turn: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, L, D) -> (B, L, D)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, Dh)
            for part in project(x, self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(torch.stack([q, k]), turn).unbind(0)
        return self.o_proj(merge_heads(context.attend(index, q, k, v)))


class FeedForward(nn.Module):
    def __init__(self, dim: int, ffn: int, Matrix: type[nn.Linear]) -> None:
        super().__init__()
        self.gate_proj = Matrix(dim, ffn, bias=False)
        self.up_proj = Matrix(dim, ffn, bias=False)
        self.down_proj = Matrix(ffn, dim, bias=False)

    def forward(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, None]:
        gate, up = project(x, self.gate_proj, self.up_proj)
        return self.down_proj(F.silu(gate) * up), None


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp: nn.Module, dropout: float, eps: float, Matrix: type[nn.Linear]):
        super().__init__()
        self.self_attn = Attention(dim, heads, Matrix)
        self.mlp = mlp
        self.input_layernorm = nn.RMSNorm(dim, eps)
        self.post_attention_layernorm = nn.RMSNorm(dim, eps)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        context: Attending,
        index: int,
        turn: tuple[Tensor, Tensor],
        real: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, L, D) -> (B, L, D) and the experts' balance loss, where there are experts and `real` (B, L) is given;
        `index`: the layer, for the context.
        """
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), context, index, turn))
        hidden, aux_loss = self.mlp(self.post_attention_layernorm(x), real)
        return x + self.dropout(hidden), aux_loss


class Llama(AttentionStack):
    """`dropout` is of the input and of what each layer adds; transformers has `attention_dropout` alone. A level is
    ignored.
    """

    theta = 10000.0  # the longest wavelength of the positions is 2π times it
    eps = 1e-6

    def __init__(
        self,
        dim: int = 512,
        heads: int = 8,
        layers: int = 12,
        ffn: int | None = None,
        dropout: float = 0.1,
        gradient_checkpointing: bool = False,
        linear: Linear = None,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, layers, ffn, dropout, gradient_checkpointing, linear)
        self.attention_dropout = attention_dropout
        Matrix = linear_class(linear)
        blocks = [
            Block(dim, heads, self._feed_forward(ffn or 4 * dim, Matrix), dropout, self.eps, Matrix)
            for _ in range(layers)
        ]
        self.model = nn.ModuleDict({"layers": nn.ModuleList(blocks), "norm": nn.RMSNorm(dim, self.eps)})
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def _feed_forward(self, ffn: int, Matrix: type[nn.Linear]) -> nn.Module:
        return FeedForward(self.dim, ffn, Matrix)

    def pass_through(self, x: Tensor, context: Context, real: Tensor | None, level: Tensor | None) -> Output:
        turn = rotation(context.positions, self.dim // self.heads, self.theta, x.dtype, context.period)
        layers = self.model["layers"]
        assert isinstance(layers, nn.ModuleList)
        x, aux_loss = self.run(layers, x, context, turn, real)
        return Output(self.model["norm"](x), aux_loss)
