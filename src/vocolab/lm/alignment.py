"""Which symbol of the text each frame says, as far as the model's guesses tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vocolab.lm.base import Condition

if TYPE_CHECKING:
    from vocolab.lm.ar import FirstCodebook

ROWS = 16  # texts, each with another symbol blanked, that share one pass


@torch.no_grad()
def alignment(model: FirstCodebook, condition: Condition, codes: Tensor, lengths: Tensor) -> Tensor:
    """(B, N, L) how much the guess at each frame of codes (B, k, L) owes to each symbol of the text: the divergence in
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
            guesses = model.first_logits(condition.select(rows), codes[rows], lengths[rows], kept)
            logp = guesses[:, :count].float().log_softmax(dim=2)
            owed[b, blanked, :count] = (logp[:1].exp() * (logp[:1] - logp[1:])).sum(dim=2)
    return owed
