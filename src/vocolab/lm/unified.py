"""One network for all levels: the first codebook causally, the others seeing both ways (the reference's `ar+nar`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vocolab.lm.ar import check_text_weight, first_loss
from vocolab.lm.backbones.base import Backbone
from vocolab.lm.base import Condition, Losses, Response
from vocolab.lm.core import CodeModel, check_share
from vocolab.lm.decode import decode, fresh_seeds
from vocolab.lm.nar import level_loss, refine, summary
from vocolab.lm.sampling import Sampling
from vocolab.lm.teacher import alignment


class Unified(CodeModel):
    """AR and NAR in one network; each sample trains one level, drawn uniformly. The options are those of AR and NAR."""

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
    ):
        super().__init__(backbone, levels, size, symbols, languages, True, True, level_embedding)
        self.level_embedding = level_embedding
        self.text_weight = check_text_weight(text_weight, size, symbols, languages)
        self.corrupt = check_share("corrupt", corrupt)
        self.text_dropout = check_share("text_dropout", text_dropout)
        self.voice_summary = voice_summary
        self.voice = summary(backbone.dim) if voice_summary else None
        self.label_smoothing = check_share("label_smoothing", label_smoothing)

    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        if levels is None:
            levels = torch.randint(self.levels, lengths.shape, device=lengths.device)
        causal, both = (levels == 0).nonzero()[:, 0], (levels > 0).nonzero()[:, 0]
        parts = []
        if len(causal):
            parts.append(first_loss(self, condition.select(causal), codes[causal], lengths[causal]))
        if len(both):
            parts.append(level_loss(self, condition.select(both), codes[both], lengths[both], levels[both]))
        losses = parts[0] if len(parts) == 1 else _joined(*parts)
        if self.text_weight > 0 and not len(causal):  # the same sums on every rank, whatever its rows drew
            losses.extra = {name: torch.zeros_like(losses.tokens) for name in ("text_loss", "text_tokens")}
        if len(parts) == 1 and torch.is_grad_enabled():
            # Distributed training waits for the gradient of every parameter, and one kind of row leaves some out.
            losses.total = losses.total + 0.0 * sum(p.flatten()[0] for p in self.parameters() if p.requires_grad)
        return losses

    def generate(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response | None = None,
        seeds: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Response:
        seeds = fresh_seeds(seeds, condition)
        if first is None:
            first = decode(self, condition, sampling, seeds, on_step)
        return refine(self, condition, sampling, first, seeds)

    def alignment(self, condition: Condition, codes: Tensor, lengths: Tensor) -> Tensor:
        """See `AR.alignment`."""
        return alignment(self, condition, codes, lengths)


def _joined(one: Losses, other: Losses) -> Losses:
    """Of two parts of a batch by one network, whose auxiliary loss is their mean."""
    losses = one + other
    if losses.aux_loss is not None:
        losses.aux_loss = (one.aux_loss * one.tokens + other.aux_loss * other.tokens) / losses.tokens
    return losses
