"""Llama (Touvron et al. 2023): RMS norms, rotary positions, gated feed-forward layers, no biases.

The weights have the names, shapes and first values of transformers' `LlamaModel`, so that those of `Llama.model` go one
to one into it and back; the blocks are written here because they also see both ways, and decode with one cache shared
by all backbones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.lm.backbones.base import Backbone, Output, padding_mask
from vocolab.lm.backbones.cache import KVCache, Whole
from vocolab.lm.backbones.dropout import Dropout, dropout
from vocolab.lm.backbones.layers import Linear, attend, linear_class, linear_name, require_heads, run


def rotation(positions: Tensor, width: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (B, 1, L, width) that turn channel i with channel i + width / 2 (RoFormer, 3.2.2)."""
    rates = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32, device=positions.device) / width)
    angles = positions[:, None, :, None] * rates  # (B, 1, L, width / 2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1).to(dtype), torch.cat([-sin, sin], -1).to(dtype)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x (..., B, H, L, width), turned by its position."""
    cos, sin = turn
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([second, first], -1) * sin


class RMSNorm(nn.RMSNorm):
    """In eval on a CPU in half as many operations: a step of decoding has two norms a layer, and they are none too
    quick.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not x.is_cpu or x.dtype != torch.float32:
            return super().forward(x)
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * (size.square() / x.shape[-1] + self.eps).rsqrt() * self.weight


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, Matrix: type[nn.Linear]) -> None:
        super().__init__()
        self.heads = heads
        self.rounds = getattr(Matrix, "rounds", None)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Matrix(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor, over: Whole | KVCache, index: int, turn: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, L, D) -> (B, L, D)."""
        x = self.rounds(x) if self.rounds else x
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, Dh)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(torch.stack([q, k]), turn).unbind(0)
        return self.o_proj(attend(over, index, q, k, v, self.o_proj))


class FeedForward(nn.Module):
    def __init__(self, dim: int, ffn: int, Matrix: type[nn.Linear]) -> None:
        super().__init__()
        self.rounds = getattr(Matrix, "rounds", None)
        self.gate_proj = Matrix(dim, ffn, bias=False)
        self.up_proj = Matrix(dim, ffn, bias=False)
        self.down_proj = Matrix(ffn, dim, bias=False)

    def forward(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, None]:
        x = self.rounds(x) if self.rounds else x
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)), None


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp: nn.Module, dropout: float, eps: float, Matrix: type[nn.Linear]):
        super().__init__()
        self.self_attn = Attention(dim, heads, Matrix)
        self.mlp = mlp
        self.input_layernorm = RMSNorm(dim, eps)
        self.post_attention_layernorm = RMSNorm(dim, eps)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, over: Whole | KVCache, index: int, turn: tuple[Tensor, Tensor], real: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, L, D) -> (B, L, D) and the experts' balance loss, where there are experts and `real` (B, L) is given;
        `over`: what layer `index` attends over.
        """
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), over, index, turn))
        hidden, aux_loss = self.mlp(self.post_attention_layernorm(x), real)
        return x + self.dropout(hidden), aux_loss


class Llama(Backbone):
    """Dropout: of the input and of what every layer adds (transformers: of the attention's weights instead, see
    `cache.Whole`). A level is ignored.
    """

    theta = 10000.0  # longest wavelength of the positions
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
    ) -> None:
        super().__init__()
        require_heads(dim, heads)
        self.dim, self.heads, self.layers, self.ffn = dim, heads, layers, ffn
        self.dropout = dropout
        self.gradient_checkpointing = gradient_checkpointing
        self.linear = linear_name(linear)
        Matrix = linear_class(linear)
        blocks = [
            Block(dim, heads, self._feed_forward(ffn or 4 * dim, Matrix), dropout, self.eps, Matrix)
            for _ in range(layers)
        ]
        self.model = nn.ModuleDict({"layers": nn.ModuleList(blocks), "norm": RMSNorm(dim, self.eps)})
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def _feed_forward(self, ffn: int, Matrix: type[nn.Linear]) -> nn.Module:
        return FeedForward(self.dim, ffn, Matrix)

    def forward(self, x: Tensor, lengths: Tensor, *, causal: bool, level: Tensor | None = None) -> Output:
        over = Whole(lengths, x.shape[1], causal=causal)
        positions = torch.arange(x.shape[1], device=x.device)[None]
        return self._blocks(x, positions, over, padding_mask(lengths, x.shape[1]))

    @torch.no_grad()
    def extend(self, x: Tensor, state: KVCache | None = None, lengths: Tensor | None = None) -> Output:
        cache = KVCache() if state is None else state
        output = self._blocks(x, cache.begin(x.shape[1], x), cache, None)
        output.state = cache.advance(lengths)
        return output

    def _blocks(self, x: Tensor, positions: Tensor, over: Whole | KVCache, real: Tensor | None) -> Output:
        turn = rotation(positions, self.dim // self.heads, self.theta, x.dtype)
        x, losses = dropout(x, self.dropout, self.training), []
        checkpointed = self.gradient_checkpointing and self.training
        for index, block in enumerate(self.model["layers"]):
            x, aux_loss = run(block, x, over, index, turn, real, checkpointed=checkpointed)
            losses.append(aux_loss)
        return Output(self.model["norm"](x), None if None in losses else torch.stack(losses).mean())
