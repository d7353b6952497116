"""The language models of codes: what they learn from, what they see, and what they say."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from tests.lm.tiny import Tiny, batch, row
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import AR, NAR, Condition, LanguageModel, Losses, Sampling, Split, Unified
from vocolab.lm.backbones import RetNet, Transformer
from vocolab.lm.core import hits
from vocolab.parts import build, describe

GREEDY = Sampling(ar_temp=0, nar_temp=0, max_ar_steps=12)


def make(kind: str, languages: int = 0, **options):
    torch.manual_seed(0)
    sizes = {"levels": 4, "size": 16, "symbols": 12, "languages": languages}
    if kind == "ar":
        return AR(Tiny(), **sizes, **options)
    if kind == "nar":
        return NAR(Tiny(), **sizes, **options)
    if kind == "unified":
        return Unified(Tiny(), **sizes, **options)
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
    for model in (AR(Tiny(64)), NAR(Tiny(64)), Unified(Tiny(64))):
        loss = model.loss(condition, codes, lengths)
        assert float((loss.total / loss.tokens).detach()) == pytest.approx(math.log(1025), abs=0.06)


@pytest.mark.parametrize("kind", ["ar", "nar", "split", "unified"])
def test_padding_and_neighbours_change_nothing(kind: str) -> None:
    model = make(kind, languages=3)
    condition, codes, lengths = batch(languages=3)
    levels = torch.tensor([3, 1, 0 if kind == "unified" else 2])
    together = model.loss(condition, codes, lengths, levels)
    alone = [model.loss(*row(condition, codes, lengths, b), levels[b : b + 1]) for b in range(3)]
    # Sums of micro-batches are those of the batch: accumulation and ranks add exactly.
    equal(together, alone[0] + alone[1] + alone[2])
    assert float(together.tokens) == float(together.level_tokens.sum())


def equal(one: Losses, other: Losses) -> None:
    for name in ("total", "tokens", "level_loss", "level_hits", "level_tokens"):
        assert torch.allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-4), name
    assert one.extra.keys() == other.extra.keys()
    for name, value in one.extra.items():
        assert torch.allclose(value, other.extra[name], rtol=1e-5, atol=1e-4), name


def test_gradients_of_micro_batches_add_up() -> None:
    model = make("split")
    condition, codes, lengths = batch()
    levels = torch.tensor([3, 1, 2])
    model.loss(condition, codes, lengths, levels).total.backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for b in range(3):
        model.loss(*row(condition, codes, lengths, b), levels[b : b + 1]).total.backward()
    for name, p in model.named_parameters():
        assert torch.allclose(p.grad, whole[name], rtol=1e-4, atol=1e-5), name


def test_the_ar_is_taught_to_stop() -> None:
    model = make("ar")
    condition, codes, lengths = batch()
    logits = model.logits(condition, codes, lengths)
    assert logits.shape == (3, 10, 17)
    wanted = sum(
        -logits[b].log_softmax(1)[torch.arange(n + 1), torch.cat([codes[b, 0, :n], torch.tensor([16])])].sum()
        for b, n in enumerate(lengths.tolist())
    )
    losses = model.loss(condition, codes, lengths)
    assert losses.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert int(losses.tokens) == int((lengths + 1).sum())


def test_text_weight_adds_the_text_and_the_language() -> None:
    condition, codes, lengths = batch(languages=3)
    plain = make("ar", languages=3).loss(condition, codes, lengths)
    half = make("ar", languages=3, text_weight=0.5).loss(condition, codes, lengths)
    read = int(condition.text_lengths.sum())  # all symbols but the first, and the language
    assert int(half.extra["text_tokens"]) == read
    assert float(half.tokens) == float(plain.tokens) + 0.5 * read
    assert half.total.item() == pytest.approx((plain.total + 0.5 * half.extra["text_loss"]).item(), rel=1e-5)
    assert torch.equal(half.level_loss, plain.level_loss)
    alone = [make("ar", languages=3, text_weight=0.5).loss(*row(condition, codes, lengths, b)) for b in range(3)]
    equal(half, alone[0] + alone[1] + alone[2])
    with pytest.raises(UsageError, match="18 symbols"):
        AR(Tiny(), 4, 16, symbols=18, text_weight=1.0)


def test_hits_count_the_ten_likeliest() -> None:
    logits = torch.arange(20.0).flip(0).view(1, 1, 20).expand(1, 20, 20)
    assert hits(logits, torch.arange(20)[None]).tolist() == [[True] * 10 + [False] * 10]
    assert not bool(hits(logits[:, :1], torch.tensor([[-100]])).any())


def test_label_smoothing_leaves_the_figures_plain() -> None:
    condition, codes, lengths = batch()
    for kind in ("ar", "nar", "unified"):
        levels = torch.tensor([1, 2, 3])
        plain = make(kind).loss(condition, codes, lengths, levels)
        smooth = make(kind, label_smoothing=0.1).loss(condition, codes, lengths, levels)
        assert torch.allclose(smooth.level_loss, plain.level_loss) and smooth.total.item() != plain.total.item()


def test_label_smoothing_is_for_training_alone() -> None:
    condition, codes, lengths = batch()
    for kind, levels in (("ar", None), ("nar", torch.tensor([1, 2, 3])), ("unified", torch.tensor([0, 2, 3]))):
        plain, smooth = make(kind).eval(), make(kind, label_smoothing=0.1).eval()
        expected = plain.loss(condition, codes, lengths, levels)
        equal(smooth.loss(condition, codes, lengths, levels), expected)


def test_every_rank_of_a_unified_model_has_the_same_sums() -> None:
    condition, codes, lengths = batch()
    model = make("unified", text_weight=0.5)
    drawn, none = (model.loss(condition, codes, lengths, torch.tensor(levels)) for levels in ([0, 1, 2], [1, 2, 3]))
    assert set(drawn.extra) == set(none.extra) == {"text_loss", "text_tokens"}
    for name, value in none.extra.items():
        assert value == 0 < drawn.extra[name] and (value.shape, value.dtype) == ((), torch.float32)


def test_the_balance_loss_of_a_unified_model_is_one_whatever_its_rows_draw() -> None:
    torch.manual_seed(0)
    model = Unified(RetNet(32, 2, 2, dropout=0.0, experts=4), 4, 16, 12).eval()
    condition, codes, lengths = batch(4)
    together = model.loss(condition, codes, lengths, torch.tensor([0, 0, 1, 2]))
    halves = []
    for rows, levels in ((torch.tensor([0, 1]), [0, 0]), (torch.tensor([2, 3]), [1, 2])):
        halves.append(model.loss(condition.select(rows), codes[rows], lengths[rows], torch.tensor(levels)))
    wanted = sum(half.aux_loss * half.tokens for half in halves) / together.tokens
    assert together.aux_loss.item() == pytest.approx(wanted.item()) and together.aux_loss < 3


def test_losses_and_speech_do_not_follow_the_default_dtype() -> None:
    """Lightning sets it under `precision: bf16-true`; a count in bf16 ends at 256."""
    condition, codes, lengths = batch(languages=3)
    sizes = {"levels": 4, "size": 16, "symbols": 12, "languages": 3}
    torch.manual_seed(0)
    networks = [Transformer(32, 2, 1) for _ in range(3)]
    options = {"text_weight": 0.5, "corrupt": 0.3}
    models = [
        Split(AR(networks[0], **sizes, **options), NAR(networks[1], **sizes, corrupt=0.3, text_dropout=0.4)),
        Unified(networks[2], **sizes, **options, text_dropout=0.4, voice_summary=True),
    ]

    def act(model: LanguageModel) -> tuple[Losses, list[Tensor]]:
        torch.manual_seed(1)
        levels = torch.tensor([1, 2, 3])
        losses = model.train().loss(condition, codes, lengths, levels)
        model.eval()
        said = []
        for more in ({"mirostat_tau": 3.0}, {"beam_width": 3}, {"repetition_window": 4}):
            response = model.generate(condition, Sampling(max_ar_steps=12, **more), seeds=torch.arange(3))
            said.append(response.codes)
        return losses, [*said, getattr(model, "ar", model).alignment(condition, codes, lengths)]

    for model in models:
        sharpen(model)
        expected, heard = act(model)
        torch.set_default_dtype(torch.bfloat16)
        try:
            found, again = act(model)
        finally:
            torch.set_default_dtype(torch.float32)
        for name in ("total", "tokens", "level_loss", "level_hits", "level_tokens"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), msg=name)
        assert all(torch.equal(one, other) for one, other in zip(heard, again, strict=True))


def test_later_frames_never_change_earlier_guesses_of_the_ar() -> None:
    model = make("ar")
    sharpen(model)
    condition, codes, lengths = batch()
    before = model.logits(condition, codes, lengths)
    for n in (2, 5):
        changed = codes.clone()
        changed[:, :, n:] = (changed[:, :, n:] + 1) % 16
        after = model.logits(condition, changed, lengths)
        assert torch.allclose(after[:, : n + 1], before[:, : n + 1], atol=1e-5)
        assert not torch.allclose(after[0, n + 1], before[0, n + 1], atol=1e-2)


def test_the_nar_sees_both_ways_and_only_lower_levels() -> None:
    # In the program `vall_e`, the NAR of every backbone but one is causal.
    model = make("nar")
    sharpen(model)
    condition, codes, lengths = batch()
    levels = torch.tensor([2, 2, 2])
    before = model.logits(condition, codes, lengths, levels)
    assert not model.backbone.calls[-1][1]
    for frame in (0, 2):  # a change anywhere is heard everywhere
        changed = codes.clone()
        changed[:, 1, frame] = (changed[:, 1, frame] + 1) % 16
        moved = (model.logits(condition, changed, lengths, levels) - before).abs().amax(2)
        for b, n in enumerate(lengths.tolist()):
            assert bool((moved[b, :n] > 1e-4).all())
    unread = codes.clone()
    unread[:, 2:] = 0
    assert torch.allclose(model.logits(condition, unread, lengths, levels), before, atol=1e-6)


def test_no_level_is_shifted() -> None:
    # In the program `vall_e`, training shifts the NAR's first input and generation does not. Here, a NAR whose backbone
    # does nothing sees just its own frame: its guesses at a frame follow that frame's codes and no other's.
    model = make("nar")
    model.backbone.blocks = torch.nn.ModuleList()
    sharpen(model)
    condition, codes, lengths = batch()
    levels = torch.tensor([1, 1, 1])
    before = model.logits(condition, codes, lengths, levels)
    changed = codes.clone()
    changed[:, 0, 1] = (changed[:, 0, 1] + 1) % 16
    moved = (model.logits(condition, changed, lengths, levels) - before).abs().amax(2)
    assert bool((moved[:, 1] > 1e-3).all()) and bool((moved[:, [0, 2]] == 0).all())
    # And the target stands at the same place: the loss is that of these guesses for these frames.
    loss = model.loss(condition, codes, lengths, levels)
    logp = before.log_softmax(2).gather(2, codes[:, 1, :, None])[..., 0]
    wanted = -sum(logp[b, :n].sum() for b, n in enumerate(lengths.tolist()))
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_levels_are_drawn_from_all_there_are() -> None:
    torch.manual_seed(0)
    condition, codes, lengths = batch(64)
    for kind, drawn in (("nar", [1, 2, 3]), ("unified", [0, 1, 2, 3])):
        counts = make(kind).loss(condition, codes, lengths).level_tokens
        assert counts.nonzero()[:, 0].tolist() == drawn
        assert float(counts[drawn].min()) > 0.4 * float(counts[drawn].mean())


@pytest.mark.parametrize("kind", ["ar", "nar", "split", "unified"])
def test_every_parameter_has_a_gradient(kind: str) -> None:
    # Whatever the levels drawn: distributed training would wait for the others in vain.
    options = {} if kind in ("ar", "split") else {"voice_summary": True, "text_dropout": 0.9}
    for levels in ([0, 0, 0], [1, 1, 1], [3, 3, 3], [0, 2, 0]):
        if kind != "unified" and 0 in levels:
            continue
        model = make(kind, languages=3, **options)
        loss = model.loss(*batch(languages=3), torch.tensor(levels))
        loss.total.backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
    if kind == "split":
        model.zero_grad()
        condition, codes, lengths = batch(8, languages=3)
        model.loss(condition, codes, lengths, torch.tensor([1, 2, 3, 3, 3, 3, 3, 3])).total.backward()
        assert [name for name, p in model.named_parameters() if float(p.grad.abs().sum()) == 0] == []


def test_unified_is_causal_at_level_0_alone() -> None:
    model = make("unified")
    condition, codes, lengths = batch(4)
    model.loss(condition, codes, lengths, torch.tensor([0, 2, 0, 1]))
    assert sorted(model.backbone.calls) == [(2, False), (2, True)]
    whole = model.loss(condition, codes, lengths, torch.tensor([0, 2, 0, 1]))
    assert whole.level_tokens[0] == lengths[0] + lengths[2] + 2


def test_corruption_and_text_dropout_are_for_training_alone() -> None:
    condition, codes, lengths = batch()
    levels = torch.tensor([1, 2, 3])
    for kind, options in (
        ("ar", {"corrupt": 0.5}),
        ("nar", {"corrupt": 0.5}),
        ("nar", {"text_dropout": 0.9}),
        ("unified", {"corrupt": 0.5, "text_dropout": 0.9}),
    ):
        plain, noisy = make(kind), make(kind, **options)
        sharpen(plain)
        noisy.load_state_dict(plain.state_dict())
        wanted = plain.loss(condition, codes, lengths, levels).total.item()
        assert noisy.loss(condition, codes, lengths, levels).total.item() != pytest.approx(wanted, rel=1e-4)
        noisy.eval()
        assert noisy.loss(condition, codes, lengths, levels).total.item() == pytest.approx(wanted, rel=1e-6)


def test_a_row_without_text_is_trained_without() -> None:
    model = make("nar", text_dropout=0.999)
    sharpen(model)
    condition, codes, lengths = batch()
    other = Condition(12 - 1 - condition.text, condition.text_lengths, condition.prompt, condition.prompt_lengths)
    levels = torch.tensor([1, 2, 3])
    losses = [model.loss(c, codes, lengths, levels).total.item() for c in (condition, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_voice_summary_is_the_mean_of_the_real_prompt() -> None:
    model = make("nar", voice_summary=True)
    sharpen(model)
    condition, codes, lengths = batch()
    levels = torch.tensor([1, 2, 3])

    def guesses(condition: Condition) -> Tensor:
        logits = model.logits(condition, codes, lengths, levels)
        return torch.cat([logits[b, :n] for b, n in enumerate(lengths.tolist())])

    before = guesses(condition)
    padded = condition.prompt.clone()
    for b, n in enumerate(condition.prompt_lengths.tolist()):
        padded[b, :, n:] = 0
    other = Condition(condition.text, condition.text_lengths, padded, condition.prompt_lengths)
    assert torch.allclose(guesses(other), before, atol=1e-5)
    # It says something: without it the guesses differ.
    torch.nn.init.zeros_(model.voice.weight)
    assert not torch.allclose(guesses(condition), before, atol=1e-2)
    # And no prompt at all is no error.
    none = Condition(condition.text, condition.text_lengths, padded[:, :, :0], torch.zeros(3, dtype=torch.long))
    assert bool(guesses(none).isfinite().all())


@pytest.mark.parametrize("kind", ["ar", "nar", "split", "unified"])
def test_description_builds_the_same_again(kind: str) -> None:
    options = {
        "ar": {"text_weight": 0.5, "corrupt": 0.1, "label_smoothing": 0.1},
        "nar": {"level_embedding": False, "corrupt": 0.1, "text_dropout": 0.2, "voice_summary": True},
        "split": {},
        "unified": {"text_weight": 0.5, "level_embedding": False, "voice_summary": True, "label_smoothing": 0.1},
    }[kind]
    backbone = lambda: Transformer(32, 2, 1)  # noqa: E731
    sizes = {"levels": 4, "size": 16, "symbols": 12, "languages": 3}
    if kind == "split":
        model = Split(AR(backbone(), **sizes), NAR(backbone(), **sizes))
    else:
        model = {"ar": AR, "nar": NAR, "unified": Unified}[kind](backbone(), **sizes, **options)
    again = build(describe(model), LanguageModel)
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    condition, codes, lengths = batch(languages=3)
    levels = torch.tensor([1, 2, 3])
    wanted = model.eval().loss(condition, codes, lengths, levels)
    equal(again.eval().loss(condition, codes, lengths, levels), wanted)


def test_unlike_halves_are_refused() -> None:
    with pytest.raises(UsageError, match="ar has 4 levels, nar has 8"):
        Split(AR(Tiny(), 4, 16), NAR(Tiny(), 8, 16))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"prompt": torch.zeros(3, 2, 5, dtype=torch.long)}, "2 codebooks, the model has 4"),
        ({"prompt": torch.full((3, 4, 5), 16)}, "ids from 16 to 16, the model has 16"),
        ({"text": torch.full((3, 7), 12)}, "ids from 12 to 12, the model has 12"),
        ({"language": torch.full((3,), 3)}, "ids from 3 to 3, the model has 3"),
        ({"language": None}, "language"),
    ],
)
def test_what_the_model_has_no_room_for_is_one_line(change: dict[str, Tensor | None], what: str) -> None:
    condition, codes, lengths = batch(languages=3)
    condition = dataclasses.replace(condition, **change)
    for act in (lambda m: m.loss(condition, codes, lengths), lambda m: m.generate(condition, GREEDY)):
        with pytest.raises(VocolabError, match=what):
            act(make("split", languages=3))


def test_codes_out_of_range_are_one_line() -> None:
    condition, codes, lengths = batch()
    codes[1, 2, 0] = 16
    for kind in ("ar", "nar"):
        with pytest.raises(VocolabError, match="to 16, the model has 16"):
            make(kind).loss(condition, codes, lengths)


@pytest.mark.parametrize("option", ["corrupt", "text_dropout", "label_smoothing"])
def test_a_share_is_a_share(option: str) -> None:
    with pytest.raises(UsageError, match=option):
        NAR(Tiny(), 4, 16, **{option: 1.0})
    with pytest.raises(UsageError, match="levels is 1"):
        NAR(Tiny(), 1, 16)
