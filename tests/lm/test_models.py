"""The language models of codes: what they learn from, what they see, and what they say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.lm.tiny import Tiny, batch, row
from vocolab.lm import AR, NAR, Condition, Losses, Sampling, Split

GREEDY = Sampling(ar_temp=0, nar_temp=0, max_ar_steps=12)


def make(kind: str, languages: int = 0, **options):
    torch.manual_seed(0)
    sizes = {"levels": 4, "size": 16, "symbols": 12, "languages": languages}
    if kind == "ar":
        return AR(Tiny(), **sizes, **options)
    if kind == "nar":
        return NAR(Tiny(), **sizes, **options)
    return Split(AR(Tiny(), **sizes), NAR(Tiny(), **sizes))


def sharpen(model) -> None:
    """Guesses that differ from row to row: a fresh model's are all alike."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "table" in name or name.endswith(("sep", "classifier.weight", "voice.weight")):
                weight.normal_()


def test_fresh_loss_is_even() -> None:
    # Golden: ln 1025 = 6.93.
    torch.manual_seed(0)
    condition, codes, lengths = batch(8, levels=8, size=1024, longest=40)
    for model in (AR(Tiny(64)), NAR(Tiny(64))):
        loss = model.loss(condition, codes, lengths)
        assert abs(float(loss.total / loss.tokens) - math.log(1025)) < 0.06
