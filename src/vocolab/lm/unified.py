"""One network for all levels: the first codebook causally, the others seeing both ways."""

from __future__ import annotations

import torch
from torch import Tensor

from vocolab.lm.ar import FirstCodebook
from vocolab.lm.backbones.base import Backbone
from vocolab.lm.base import Condition, Losses
from vocolab.lm.medusa import MedusaHeads
from vocolab.lm.nar import RestCodebooks


class Unified(FirstCodebook, RestCodebooks):
    """AR and NAR in one network; each sample trains one level, drawn uniformly. The options are those of AR and NAR; a
    `window` is for level 0 alone.
    """

    def __init__(
        self,
        backbone: Backbone,
        levels: int = 8,
        size: int = 1024,
        symbols: int = 256,
        languages: int = 0,
        level_embedding: bool = True,
        text_weight: float = 0.0,
        corrupt: float = 0.0,
        text_dropout: float = 0.0,
        voice_summary: bool = False,
        label_smoothing: float = 0.0,
        drafts: MedusaHeads | None = None,
        window: int | None = None,
    ):
        super().__init__(
            backbone, levels, size, symbols, languages, corrupt, label_smoothing, True, True, level_embedding
        )
        self.set_text_weight(text_weight)
        self.set_window(window)
        self.set_text_and_voice(text_dropout, voice_summary)
        self.set_drafts(drafts)

    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        self.check(condition, codes)
        if levels is None:
            levels = torch.randint(self.levels, lengths.shape, device=lengths.device)
        first, rest = (levels == 0).nonzero()[:, 0], (levels > 0).nonzero()[:, 0]
        parts = []
        if len(first):
            parts.append(self.first_loss(condition.select(first), codes[first], lengths[first]))
        if len(rest):
            parts.append(self.rest_loss(condition.select(rest), codes[rest], lengths[rest], levels[rest]))
        losses = parts[0] if len(parts) == 1 else _joined(*parts)
        if not len(first):  # ranks add up their sums, so each must have all of them
            names = ["text_loss", "text_tokens"] if self.text_weight > 0 else []
            names += [] if self.drafts is None else self.drafts.sums
            losses.extra = {name: torch.zeros_like(losses.tokens) for name in names}
        if len(parts) == 1 and torch.is_grad_enabled():
            # Distributed training waits for the gradient of every parameter, and rows of one kind leave some out.
            losses.total = losses.total + 0.0 * sum(p.flatten()[0] for p in self.parameters() if p.requires_grad)
        return losses


def _joined(one: Losses, other: Losses) -> Losses:
    """Two parts of a batch that one network computed: its auxiliary loss is their mean by tokens."""
    losses = one + other
    if one.aux_loss is not None and other.aux_loss is not None:
        losses.aux_loss = (one.aux_loss * one.tokens + other.aux_loss * other.tokens) / losses.tokens
    return losses
