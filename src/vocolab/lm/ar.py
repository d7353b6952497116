"""The autoregressive model: the first codebook, frame by frame, and then the stop token (VALL-E, section 4.2.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vocolab.errors import UsageError
from vocolab.lm.backbones.base import Backbone
from vocolab.lm.base import Condition, Losses, Response
from vocolab.lm.core import CodeModel, check_share, cross_entropy, hits
from vocolab.lm.decode import decode
from vocolab.lm.layout import IGNORED, ar_targets, at
from vocolab.lm.sampling import Sampling
from vocolab.lm.teacher import alignment, first_hidden, first_logits


class AR(CodeModel):
    """Predicts codebook 0 of the response and when it ends.

    `text_weight` above 0 adds the text's own cross-entropy with that weight (0: the paper's loss; the reference takes
    1). `corrupt`: the share of its input codes that are random ones in training, against repeating what was said.
    """

    def __init__(
        self,
        backbone: Backbone,
        levels: int = 8,
        size: int = 1024,
        symbols: int = 256,
        languages: int = 0,
        text_weight: float = 0.0,
        corrupt: float = 0.0,
        label_smoothing: float = 0.0,
    ):
        super().__init__(backbone, levels, size, symbols, languages, first=True, rest=False)
        self.text_weight = check_text_weight(text_weight, size, symbols, languages)
        self.corrupt = check_share("corrupt", corrupt)
        self.label_smoothing = check_share("label_smoothing", label_smoothing)

    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        return first_loss(self, condition, codes, lengths)

    def logits(self, condition: Condition, codes: Tensor, lengths: Tensor) -> Tensor:
        """(B, L + 1, size + 1): what the model thinks of each frame of codes (B, K, L) given those before it, and of
        what follows the last.
        """
        return first_logits(self, condition, codes[:, 0], lengths)

    def alignment(self, condition: Condition, codes: Tensor, lengths: Tensor) -> Tensor:
        """(B, N, L) how much each frame of codes (B, K, L) owes to each symbol of the text, for pictures: one pass of
        the network a symbol.
        """
        return alignment(self, condition, codes, lengths)

    def generate(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response | None = None,
        seeds: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Response:
        return first if first is not None else decode(self, condition, sampling, seeds, on_step)


def check_text_weight(weight: float, size: int, symbols: int, languages: int) -> float:
    """The weight of text targets, which one classifier must have room for."""
    if weight < 0:
        raise UsageError(f"text_weight is {weight}", "model", "give 0 or more")
    if weight > 0 and max(symbols, languages) > size + 1:
        raise UsageError(
            f"text_weight needs a class for each of {max(symbols, languages)} symbols, the codes have {size + 1}",
            "model",
            "set text_weight to 0",
        )
    return weight


def first_loss(model: CodeModel, condition: Condition, codes: Tensor, lengths: Tensor) -> Losses:
    """Of the first codebook of codes (B, K, L), and of stopping."""
    model.check_codes(codes)
    codes = codes[:, 0]
    hidden, start, aux_loss = first_hidden(model, condition, model.corrupted(codes, model.corrupt), lengths)
    targets = ar_targets(
        condition.text,
        condition.text_lengths,
        condition.language if model.languages else None,
        condition.prompt_lengths,
        codes,
        lengths,
        model.stop,
    )  # (B, T)
    count = codes.shape[1] + 1
    inside = torch.arange(count, device=codes.device) <= lengths[:, None]
    speech = at(targets, start, count).masked_fill(~inside, IGNORED)
    logits = model.classifier(at(hidden, start, count))  # (B, L + 1, V)
    loss, plain = cross_entropy(logits, speech, model.smoothing)
    total, tokens = loss.sum(), (speech != IGNORED).sum().float()
    sums = plain.new_zeros(3, model.levels)
    sums[:, 0] = torch.stack([plain.sum(), hits(logits, speech).sum().float(), tokens])
    extra = {}
    if model.text_weight > 0:
        count = condition.text.shape[1] + 1  # the language, where there is one, follows one separator behind the text
        before = torch.arange(count, device=codes.device) < start[:, None]
        text = targets[:, :count].masked_fill(~before[:, : targets.shape[1]], IGNORED)
        loss, plain = cross_entropy(model.classifier(hidden[:, :count]), text)
        read = (text != IGNORED).sum().float()
        total, tokens = total + model.text_weight * loss.sum(), tokens + model.text_weight * read
        extra = {"text_loss": plain.sum(), "text_tokens": read}
    return Losses(total, tokens, sums[0], sums[1], sums[2], aux_loss, extra)
