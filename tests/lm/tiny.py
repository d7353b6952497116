"""A plain backbone to test the models with, and batches of unequal rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vocolab.lm import Condition
from vocolab.lm.backbones import Backbone, Output, State
from vocolab.lm.backbones.base import padding_mask


class Seen(State):
    """All inputs so far: the slow and sure state. Rows of a batch may differ in length."""

    def __init__(self, x: Tensor, lengths: Tensor):
        self.x, self.lengths = x, lengths

    def select(self, rows: Tensor) -> Seen:
        return Seen(self.x[rows], self.lengths[rows])

    def truncate(self, n: int) -> Seen:
        return Seen(self.x, self.lengths - n)


class Tiny(Backbone):
    """A small transformer that recomputes everything."""

    def __init__(self, dim: int = 32, layers: int = 2, heads: int = 2):
        super().__init__()
        self.dim, self.layers, self.heads = dim, layers, heads
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.calls: list[tuple[int, bool]] = []

    def forward(self, x: Tensor, lengths: Tensor, *, causal: bool, level: Tensor | None = None) -> Output:
        self.calls.append((len(x), causal))
        position = torch.arange(x.shape[1])[:, None] / 50 ** torch.linspace(0, 1, self.dim // 2)
        x = x + torch.cat([position.sin(), position.cos()], dim=1)
        hide = ~padding_mask(lengths, x.shape[1])[:, None].expand(-1, x.shape[1], -1)
        if causal:
            hide = hide | torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        for block in self.blocks:
            x = block(x, src_mask=hide.repeat_interleave(self.heads, dim=0))
        return Output(self.norm(x))

    def extend(self, x: Tensor, state: Seen | None = None, lengths: Tensor | None = None) -> Output:
        fresh = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        before = torch.zeros_like(fresh) if state is None else state.lengths
        old = x[:, :0] if state is None else state.x
        seen = torch.zeros(len(x), int((before + fresh).max()), self.dim)
        for b in range(len(x)):
            seen[b, : before[b]] = old[b, : before[b]]
            seen[b, before[b] : before[b] + fresh[b]] = x[b, : fresh[b]]
        hidden = self.forward(seen, before + fresh, causal=True).hidden
        index = (before[:, None] + torch.arange(x.shape[1])).clamp(max=seen.shape[1] - 1)
        hidden = hidden.gather(1, index[:, :, None].expand(-1, -1, self.dim))
        return Output(hidden, state=Seen(seen, before + fresh))


def batch(rows: int = 3, levels: int = 4, size: int = 16, languages: int = 0, seed: int = 0, longest: int = 9):
    """(condition, codes (B, K, L), lengths): rows of unequal lengths, garbage in the padding."""
    g = torch.Generator().manual_seed(seed)

    def lengths(low: int, high: int) -> Tensor:
        n = torch.randint(low, high + 1, (rows,), generator=g)
        n[0] = high
        return n

    text, prompt, codes = lengths(2, 7), lengths(1, 5), lengths(3, longest)
    condition = Condition(
        torch.randint(0, 12, (rows, 7), generator=g),
        text,
        torch.randint(0, size, (rows, levels, 5), generator=g),
        prompt,
        torch.randint(0, languages, (rows,), generator=g) if languages else None,
    )
    return condition, torch.randint(0, size, (rows, levels, longest), generator=g), codes


def row(condition: Condition, codes: Tensor, lengths: Tensor, b: int):
    """Row b alone, its padding cut off."""
    n, p = int(condition.text_lengths[b]), int(condition.prompt_lengths[b])
    one = slice(b, b + 1)
    alone = Condition(
        condition.text[one, :n],
        condition.text_lengths[one],
        condition.prompt[one, :, :p],
        condition.prompt_lengths[one],
        None if condition.language is None else condition.language[one],
    )
    return alone, codes[one, :, : int(lengths[b])], lengths[one]
