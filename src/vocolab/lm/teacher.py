"""The first codebook read rather than spoken: what the model thinks of codes given, and what it owes to the text."""

from __future__ import annotations

import torch
from torch import Tensor

from vocolab.lm.base import Condition
from vocolab.lm.core import CodeModel
from vocolab.lm.layout import at, pack

ROWS = 16  # texts with a symbol blanked that run together


def first_hidden(
    model: CodeModel, condition: Condition, codes: Tensor, lengths: Tensor, kept: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Hidden states (B, T, D) of the sequence with codes (B, L) of the first codebook, the position (B,) at which the
    first of them is predicted, and the backbone's loss.

    `kept` (B, N) bool: the symbols of the text not to be blanked.
    """
    segments, counts = model.prefix(condition)
    if kept is not None:
        segments[0] = segments[0] * kept[:, :, None]
    packed = pack([*segments, model.first_table(codes)], [*counts, lengths])
    output = model.backbone(model.at_level(packed.x, 0), packed.lengths, causal=True)
    return output.hidden, packed.starts[-1] - 1, output.aux_loss


def first_logits(
    model: CodeModel, condition: Condition, codes: Tensor, lengths: Tensor, kept: Tensor | None = None
) -> Tensor:
    """(B, L + 1, size + 1): of each frame of codes (B, L) given those before it, and of what follows the last."""
    hidden, start, _ = first_hidden(model, condition, codes, lengths, kept)
    return model.classifier(at(hidden, start, codes.shape[1] + 1))


@torch.no_grad()
def alignment(model: CodeModel, condition: Condition, codes: Tensor, lengths: Tensor) -> Tensor:
    """(B, N, L) how much the guess at each frame of codes (B, K, L) owes to each symbol of the text: the divergence in
    nats between the guesses with the symbol and with it blanked. One pass a symbol.
    """
    symbols, frames = condition.text.shape[1], codes.shape[2]
    owed = torch.zeros(len(condition), symbols, frames, dtype=torch.float32, device=codes.device)
    for b in range(len(condition)):
        length, count = int(condition.text_lengths[b]), int(lengths[b])
        whole = torch.ones(1, symbols, dtype=torch.bool, device=codes.device)
        for start in range(0, length, ROWS):
            blanked = torch.arange(start, min(start + ROWS, length), device=codes.device)
            kept = torch.cat([whole, torch.arange(symbols, device=codes.device) != blanked[:, None]])
            rows = torch.full((len(kept),), b, device=codes.device)
            guesses = first_logits(model, condition.select(rows), codes[rows, 0], lengths[rows], kept)
            logp = guesses[:, :count].float().log_softmax(dim=2)
            owed[b, blanked, :count] = (logp[:1].exp() * (logp[:1] - logp[1:])).sum(dim=2)
    return owed
