"""Decoding with draft heads gives the codes of plain decoding, in fewer passes; nothing else may change."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from tests.lm.test_generate import AWARE, FILTERED, GREEDY, SAMPLED, SEEDS, same, sharp, unequal
from tests.lm.test_models import sharpen
from tests.lm.tiny import Tiny, batch, row
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import AR, NAR, Condition, MedusaHeads, Response, Sampling, Split, drafting, fast
from vocolab.lm.backbones import Backbone, BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.lm.sampling import penalised
from vocolab.parts import build, describe

SAMPLINGS = {
    "greedy": GREEDY,
    "sampled": SAMPLED,
    "filtered": dataclasses.replace(FILTERED, repetition_penalty_decay=0.5),
    "longer": dataclasses.replace(SAMPLED, length_penalty=-1.5),
    "dynamic": dataclasses.replace(SAMPLED, min_ar_temp=0.1),
    "mirostat": dataclasses.replace(SAMPLED, mirostat_tau=2.0),
    "aware": AWARE,
    "cut": dataclasses.replace(SAMPLED, max_ar_steps=3),  # within a draft
    "one frame": dataclasses.replace(GREEDY, max_ar_steps=1),
}


def first_codebook(model):
    return model.ar if isinstance(model, Split) else model


def with_heads(model, count: int = 3):
    """The model with fresh heads, whose guesses are seldom right."""
    torch.manual_seed(5)
    first_codebook(model).set_drafts(MedusaHeads(count))
    return model.eval()


@pytest.fixture
def telling(monkeypatch):
    """Calling it with a response makes the heads guess its codes, but for every fifth or so."""

    def tell(response: Response) -> None:
        def guess(model, heads, draws, live: Tensor, x: Tensor, last: Tensor) -> Tensor:
            place = draws.count[live][:, None] + torch.arange(heads.count)
            told = torch.nn.functional.pad(response.codes[:, 0], (0, 99))[live].gather(1, place)
            return torch.where((place + live[:, None]) % 5 == 0, (told + 1) % model.size, told)

        monkeypatch.setattr(drafting, "_guess", guess)

    return tell


def alike(one: Response, other: Response) -> None:
    assert torch.equal(one.codes, other.codes) and torch.equal(one.lengths, other.lengths)
    assert torch.equal(one.stopped, other.stopped)


def drafts(sampling: Sampling) -> Sampling:
    return dataclasses.replace(sampling, draft="medusa")


@pytest.mark.parametrize("kind", ["ar", "unified"])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_draft_changes_no_code(kind: str, name: str, telling, monkeypatch) -> None:
    condition, _, _ = batch()
    own = drafting._guess
    for stop in (0.0, 3.0, 6.0):
        model = with_heads(sharp(kind, stop))
        plain = model.generate(condition, SAMPLINGS[name], seeds=SEEDS)
        telling(plain)
        drafted = model.generate(condition, drafts(SAMPLINGS[name]), seeds=SEEDS)
        alike(drafted, plain)
        least = -(-(plain.lengths + plain.stopped - 1) // 4) + 1  # the first frame has a pass of its own
        assert drafted.steps == plain.steps and bool((drafted.passes >= least).all())
        assert int(drafted.passes.sum()) <= 0.7 * int(plain.passes.sum()) or int(plain.lengths.max()) < 6
        monkeypatch.setattr(drafting, "_guess", own)
        untold = model.generate(condition, drafts(SAMPLINGS[name]), seeds=SEEDS)
        alike(untold, plain)
        assert bool((untold.passes <= plain.passes).all())


@pytest.mark.parametrize("name", ["greedy", "filtered", "mirostat"])
def test_rows_that_accept_unequal_numbers_are_what_they_are_alone(name: str, telling) -> None:
    model, plain, (condition, codes, lengths) = unequal("ar", SAMPLINGS[name])
    telling(plain)
    together = with_heads(model).generate(condition, drafts(SAMPLINGS[name]), seeds=SEEDS)
    alike(together, plain)
    for b in range(3):
        alone, _, _ = row(condition, codes, lengths, b)
        telling(dataclasses.replace(plain, codes=plain.codes[b : b + 1]))
        one = model.generate(alone, drafts(SAMPLINGS[name]), seeds=SEEDS[b : b + 1])
        same(together, one, b)


@pytest.mark.parametrize("backbone", [Transformer, RetNet, Llama, Mixtral, BitNet])
def test_every_backbone(backbone: type[Backbone], telling) -> None:
    torch.manual_seed(0)
    model = Split(*(part(backbone(32, 2, 2), levels=4, size=16, symbols=12) for part in (AR, NAR)))
    sharpen(model)
    model.ar.classifier.bias.data[16] = 2.0
    model = fast.prepare(with_heads(model))
    condition, _, _ = batch()
    for sampling in (dataclasses.replace(GREEDY, max_ar_steps=30), dataclasses.replace(SAMPLED, max_ar_steps=30)):
        plain = model.generate(condition, sampling, seeds=SEEDS)
        telling(plain)
        drafted = model.generate(condition, drafts(sampling), seeds=SEEDS)
        alike(drafted, plain)
        assert len(set(drafted.passes.tolist())) > 1 and drafted.passes.sum() < 0.6 * plain.passes.sum()


@torch.no_grad()
def test_the_sequences_have_the_probabilities_that_the_model_says(monkeypatch) -> None:
    """Counted: when the uniform numbers of three frames run through a grid, each sequence comes as often as the product
    of its probabilities says.
    """
    torch.manual_seed(0)
    model = AR(Tiny(), levels=1, size=3, symbols=12)
    sharpen(model)
    with_heads(model, 2)
    sampling = Sampling(ar_temp=1.3, repetition_penalty=1.4, max_ar_steps=3, draft="medusa")
    side = 20
    grid = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    numbers = torch.cartesian_prod(grid, grid, grid)
    monkeypatch.setattr(drafting, "uniforms", lambda seeds, count, stream=0: numbers[seeds])
    one = batch(levels=1, size=3, rows=1)[0]
    counted: dict[tuple[int, ...], int] = {}
    for seeds in torch.arange(len(numbers)).split(2000):
        response = model.generate(one.select(torch.zeros_like(seeds)), sampling, seeds=seeds)
        for codes, length, stopped in zip(response.codes[:, 0], response.lengths, response.stopped, strict=True):
            found = (*codes[:length].tolist(), *([3] if stopped else []))
            counted[found] = counted.get(found, 0) + 1
    assert sum(counted.values()) == side**3 and int(response.passes.max()) < 4
    for sequence, count in expected(model, one, sampling).items():
        assert counted.get(sequence, 0) == pytest.approx(side**3 * count, abs=3 * side**2)


def expected(model: AR, condition: Condition, sampling: Sampling) -> dict[tuple[int, ...], float]:
    """The probability of each sequence of three tokens, or of fewer before a stop, from whole passes of the model."""
    done, open_ = {}, {(): 1.0}
    for _ in range(3):
        longer = {}
        for before, share in open_.items():
            codes = torch.tensor([[before]], dtype=torch.long)
            logits = model.logits(condition, codes, torch.tensor([len(before)]))[:, -1]
            if not before:
                logits[:, model.stop] = -torch.inf
            logits = penalised(logits, sampling, codes[0], model.stop) / sampling.ar_temp
            for token, p in enumerate(logits.double().softmax(1)[0].tolist()):
                (done if token == model.stop else longer)[*before, token] = share * p
        open_ = longer
    return done | open_


def test_heads_learn_to_foretell_the_model() -> None:
    """Trained on what the model says, on a frozen model or a live one, they save passes."""
    condition, _, _ = batch()
    sampling = dataclasses.replace(GREEDY, max_ar_steps=40)
    model = with_heads(sharp("ar", -9.0), 2)
    said = model.generate(condition, sampling, seeds=SEEDS)
    codes = said.codes.expand(-1, 4, -1)
    before = {name: p.clone() for name, p in model.named_parameters() if not name.startswith("drafts.")}
    optimizer = torch.optim.Adam(model.drafts.parameters(), lr=1e-2)
    for _ in range(60):
        losses = model.draft_losses(condition, codes, said.lengths)
        optimizer.zero_grad()
        (losses.total / losses.tokens).backward()
        optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)
    assert all(p.grad is None for name, p in model.named_parameters() if name in before)
    assert losses.extra["draft_1_acc"] > 0.9 * losses.extra["draft_1_tokens"]
    assert losses.extra["draft_1_tokens"] == 3 * 39 + 3 and losses.extra["draft_2_tokens"] == 3 * 38 + 3
    drafted = model.generate(condition, drafts(sampling), seeds=SEEDS)
    alike(drafted, said)
    assert int(drafted.passes.sum()) < 0.5 * int(said.passes.sum())


def test_heads_of_a_live_model_add_their_loss() -> None:
    condition, codes, lengths = batch()
    plain = sharp("ar").loss(condition, codes, lengths)
    model = sharp("ar")
    model.set_drafts(MedusaHeads(2, weight=0.5))
    losses = model.loss(condition, codes, lengths)
    heads = sum(losses.extra[f"draft_{i}_loss"] for i in (1, 2))
    assert float(losses.total.detach()) == pytest.approx(float((plain.total + 0.5 * heads).detach()), rel=1e-5)
    torch.testing.assert_close(losses.level_loss, plain.level_loss)
    losses.total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_what_a_draft_refuses() -> None:
    condition, _, _ = batch()
    with pytest.raises(VocolabError, match="the model has no Medusa heads: --draft medusa"):
        sharp("ar").generate(condition, drafts(GREEDY), seeds=SEEDS)
    with pytest.raises(UsageError, match="no such draft 'lookahead': --draft: give medusa"):
        Sampling(draft="lookahead")
    with pytest.raises(UsageError, match="--draft and --beam-width"):
        Sampling(draft="medusa", beam_width=2)
    for wrong in ({"count": 0}, {"blocks": 0}, {"weight": -1.0}, {"dropout": 1.0}):
        with pytest.raises(UsageError, match="MedusaHeads"):
            MedusaHeads(**wrong)


@pytest.mark.parametrize("kind", ["ar", "split", "unified"])
def test_heads_travel_in_the_description_and_the_weights(kind: str) -> None:
    model = with_heads(sharp(kind), 2)
    again = build(describe(model))
    again.load_state_dict(model.state_dict())
    assert first_codebook(again).drafts.count == 2
    old = describe(sharp(kind))  # checkpoints of before have no such argument
    part = old["init_args"]["ar"] if kind == "split" else old
    assert part["init_args"].pop("drafts") is None
    assert first_codebook(build(old)).drafts is None
