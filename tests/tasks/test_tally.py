"""Sums over batches and ranks."""

from __future__ import annotations

import torch

from vocolab.lm.base import Losses
from vocolab.tasks.tally import Tally


def losses(total: float, tokens: float, text: tuple[float, float]) -> Losses:
    extra = {name: torch.tensor(value) for name, value in zip(("text_loss", "text_tokens"), text, strict=True)}
    levels = torch.zeros(2)
    return Losses(torch.tensor(total), torch.tensor(tokens), levels, levels, levels, None, extra)


def test_a_loss_of_no_token_is_left_out() -> None:
    tally, whole = Tally(), lambda sums: sums
    tally.add(losses(6.0, 3.0, (0.0, 0.0)))
    assert tally.take(whole).named("train") == {"train/loss": 2.0}
    tally.add(losses(6.0, 3.0, (0.0, 0.0)))
    tally.add(losses(6.0, 1.0, (5.0, 2.0)))
    assert tally.take(whole).named("train") == {"train/loss": 3.0, "train/text_loss": 2.5}
    assert tally.take(whole) is None
