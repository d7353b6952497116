"""Of several responses to a text, the likeliest is kept: it is one of those that single seeds give."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.lm.test_generate import SAMPLED, SEEDS, same, unequal
from tests.lm.tiny import row
from vocolab.errors import UsageError
from vocolab.lm import Response, Sampling
from vocolab.lm.candidates import SEED_STEP, mean_log_likelihood


def by_hand(model, condition, codes, length: int, stopped: bool) -> float:
    """Mean of ln p of the frames and the stop token of one response (1, 1, length)."""
    logp = model.first_logits(condition, codes, torch.tensor([length]))[0].log_softmax(-1)
    tokens = [*codes[0, 0, :length].tolist(), *([model.stop] if stopped else [])]
    return sum(float(logp[n, token]) for n, token in enumerate(tokens)) / len(tokens)


@pytest.mark.parametrize("kind", ["ar", "unified"])
@torch.no_grad()
def test_the_likeliest_that_stopped_is_kept(kind: str) -> None:
    model, _, (condition, codes, lengths) = unequal(kind, SAMPLED)
    best = dataclasses.replace(SAMPLED, best_of=4)
    together = model.generate_first(condition, best, SEEDS, None)
    for b in range(3):
        alone, _, _ = row(condition, codes, lengths, b)
        candidates = [model.generate_first(alone, SAMPLED, SEEDS[b : b + 1] + i * SEED_STEP, None) for i in range(4)]
        scores = [by_hand(model, alone, c.codes, int(c.lengths), bool(c.stopped)) for c in candidates]
        ranked = [score if bool(c.stopped) else -torch.inf for score, c in zip(scores, candidates, strict=True)]
        same(together, candidates[ranked.index(max(ranked))], b)
        same(together, model.generate_first(alone, best, SEEDS[b : b + 1], None), b)
        for candidate, score in zip(candidates, scores, strict=True):
            assert float(mean_log_likelihood(model, alone, candidate)) == pytest.approx(score, abs=1e-5)


def test_where_all_are_cut_the_first_is_kept() -> None:
    model, _, (condition, *_) = unequal("ar", SAMPLED)
    cut = dataclasses.replace(SAMPLED, max_ar_steps=2, length_penalty=1e4)
    one = model.generate_first(condition, cut, SEEDS, None)
    found = model.generate_first(condition, dataclasses.replace(cut, best_of=3), SEEDS, None)
    # The penalty counts from the second frame on, so a row may have stopped before.
    kept = ~found.stopped & ~one.stopped
    assert kept.any() and isinstance(found, Response)
    assert torch.equal(found.codes[kept], one.codes[kept])


def test_it_is_no_way_with_beams() -> None:
    with pytest.raises(UsageError, match="--beam-width and --best-of"):
        Sampling(beam_width=4, best_of=2)
