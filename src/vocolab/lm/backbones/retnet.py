"""RetNet (Sun et al. 2023): retention instead of attention, so that a step costs the same however long the past."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.errors import UsageError
from vocolab.lm.backbones.base import Backbone, Output, padding_mask
from vocolab.lm.backbones.dropout import Dropout, dropout
from vocolab.lm.backbones.layers import Linear, SwiGLU, initialise, linear_class, linear_name, require_heads, run
from vocolab.lm.backbones.moe import Mixture
from vocolab.lm.backbones.retention import RetentionState, WholeRetention, rotate

EPSILON = 1e-6


class Block(nn.Module):
    def __init__(
        self, dim: int, heads: int, value: int, ffn: int, dropout: float, linear: Linear, experts: int
    ) -> None:
        super().__init__()
        Matrix = linear_class(linear)
        self.heads = heads
        self.parts = [2 * dim, value, value]
        self.retention_norm = nn.RMSNorm(dim, EPSILON)
        self.qkvg = Matrix(dim, sum(self.parts), bias=False)
        self.out = Matrix(value, dim, bias=False)
        self.ffn_norm = nn.RMSNorm(dim, EPSILON)
        self.ffn = Mixture(dim, ffn, experts, linear=linear) if experts else SwiGLU(dim, ffn, linear)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, over: WholeRetention | RetentionState, index: int, real: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, L, D) -> (B, L, D) and the experts' balance loss; `over`: what layer `index` remembers."""
        qk, v, gate = self.qkvg(self.retention_norm(x)).split(self.parts, -1)
        v = v.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, Dv)
        mixed = over.retain(index, *rotate(qk, over.rotation), v).transpose(1, 2)  # (B, L, H, Dv)
        # The norm of each head makes its scale irrelevant: the decays' sums grow by 2^h from head to head.
        mixed = F.rms_norm(mixed, mixed.shape[-1:], eps=EPSILON).flatten(2).to(x.dtype)
        x = x + self.dropout(self.out(F.silu(gate) * mixed))
        hidden, aux_loss = self.ffn_norm(x), None
        if isinstance(self.ffn, Mixture):
            hidden, aux_loss = self.ffn(hidden, real)
        else:
            hidden = self.ffn(hidden)
        return x + self.dropout(hidden), aux_loss


class RetNet(Backbone):
    """`value`: width of the values, None for `dim`. `experts` above 0: a mixture of that many in every layer, two a
    position. `chunk`: positions of a causal training pass taken at once, None for all; less memory, the same numbers.
    A level is ignored.
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
        value: int | None = None,
        experts: int = 0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        require_heads(dim, heads)
        if (value or dim) % heads:
            raise UsageError("values do not divide into the heads", f"value {value}, heads {heads}", "change either")
        self.dim, self.heads, self.layers, self.ffn = dim, heads, layers, ffn
        self.dropout = dropout
        self.gradient_checkpointing = gradient_checkpointing
        self.linear = linear_name(linear)
        self.value, self.experts, self.chunk = value, experts, chunk
        self.blocks = nn.ModuleList(
            Block(dim, heads, value or dim, ffn or 4 * dim, dropout, linear, experts) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(dim, EPSILON)
        initialise(self, residual=("out", "down"), layers=layers)

    def forward(self, x: Tensor, lengths: Tensor, *, causal: bool, level: Tensor | None = None) -> Output:
        width = self.dim // self.heads
        over = WholeRetention(lengths, x.shape[1], self.heads, width, causal=causal, chunk=self.chunk)
        return self._blocks(x, over, padding_mask(lengths, x.shape[1]))

    @torch.no_grad()
    def extend(self, x: Tensor, state: RetentionState | None = None, lengths: Tensor | None = None) -> Output:
        if state is None:
            value_width = (self.value or self.dim) // self.heads
            state = RetentionState(self.layers, self.heads, self.dim // self.heads, value_width, x)
        state.begin(x.shape[1], lengths)
        output = self._blocks(x, state, None)
        output.state = state.advance()
        return output

    def _blocks(self, x: Tensor, over: WholeRetention | RetentionState, real: Tensor | None) -> Output:
        x, losses = dropout(x, self.dropout, self.training), []
        for index, block in enumerate(self.blocks):
            x, aux_loss = run(block, x, over, index, real, checkpointed=self.gradient_checkpointing and self.training)
            losses.append(aux_loss)
        return Output(self.norm(x), torch.stack(losses).mean() if self.experts else None)
