"""RetNet (Sun et al. 2023): retention instead of attention, so that a step costs the same however long the past."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.errors import UsageError
from vocolab.lm.backbones.base import Output
from vocolab.lm.backbones.dropout import Dropout
from vocolab.lm.backbones.layers import Linear, SwiGLU, initialise, linear_class
from vocolab.lm.backbones.moe import Mixture
from vocolab.lm.backbones.retention import CHUNK, FullRetention, RetentionState, rotate
from vocolab.lm.backbones.stack import Context, Memory, Stack

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
        self, x: Tensor, context: FullRetention | RetentionState, index: int, real: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, L, D) -> (B, L, D) and the experts' balance loss; `index`: the layer, for the context."""
        qk, v, gate = self.qkvg(self.retention_norm(x)).split(self.parts, -1)
        v = v.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, Dv)
        mixed = context.retain(index, *rotate(qk, context.rotation), v).transpose(1, 2)  # (B, L, H, Dv)
        # Heads differ in scale, since the sums of their decays double from head to head; each gets a norm of its own.
        mixed = F.rms_norm(mixed, mixed.shape[-1:], eps=EPSILON).flatten(2).to(x.dtype)
        x = x + self.dropout(self.out(F.silu(gate) * mixed))
        hidden, aux_loss = self.ffn_norm(x), None
        if isinstance(self.ffn, Mixture):
            hidden, aux_loss = self.ffn(hidden, real)
        else:
            hidden = self.ffn(hidden)
        return x + self.dropout(hidden), aux_loss


class RetNet(Stack):
    """`value`: width of the values, None for `dim`. `experts` above 0: a mixture of that many experts in every layer,
    of which each position uses two. `chunk`: how many positions retention takes at once, at most. The numbers
    do not depend on it. Memory grows with the length, but for None (all positions at once) with its square. A level is
    ignored.
    """

    no_window = "RetNet forgets by its decay, and its memory is constant already"

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
        chunk: int | None = CHUNK,
    ) -> None:
        super().__init__(dim, heads, layers, ffn, dropout, gradient_checkpointing, linear)
        if (value or dim) % heads:
            raise UsageError("values do not divide into the heads", f"value {value}, heads {heads}", "change either")
        if chunk is not None and chunk < 1:
            raise UsageError("a chunk has no position", f"chunk {chunk}", "give 1 or more, or null for all at once")
        self.value, self.experts, self.chunk = value, experts, chunk
        self.blocks = nn.ModuleList(
            Block(dim, heads, value or dim, ffn or 4 * dim, dropout, linear, experts) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(dim, EPSILON)
        initialise(self, residual=("out", "down"), layers=layers)

    def pass_through(self, x: Tensor, context: Context, real: Tensor | None, level: Tensor | None) -> Output:
        x, aux_loss = self.run(self.blocks, x, context, real)
        return Output(self.norm(x), aux_loss)

    def whole(self, lengths: Tensor, length: int, causal: bool) -> Context:
        return FullRetention(lengths, length, self.heads, self.dim // self.heads, causal=causal, chunk=self.chunk)

    def memory(self, x: Tensor) -> Memory:
        value_width = (self.value or self.dim) // self.heads
        return RetentionState(self.layers, self.heads, self.dim // self.heads, value_width, x, self.chunk or CHUNK)
