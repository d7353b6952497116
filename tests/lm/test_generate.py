"""Generation: cached equals teacher-forced, a batch equals its rows, rows end by themselves or at the limit."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.capturing import Capturing
from tests.lm.test_models import make, sharpen
from tests.lm.tiny import Tiny, batch, row
from vocolab.errors import VocolabError
from vocolab.lm import AR, NAR, Condition, Response, Sampling, Split, Unified
from vocolab.lm.backbones import Backbone, BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.rng import uniforms

GREEDY = Sampling(ar_temp=0, nar_temp=0, max_ar_steps=12)
SAMPLED = Sampling(ar_temp=1.2, nar_temp=0.8, max_ar_steps=12)
SEEDS = torch.tensor([11, 22, 33])


def sharp(kind: str, stop: float = 0.0, **options):
    """A model whose rows differ, with some wish to stop."""
    model = make(kind, **options)
    sharpen(model)
    for part in model.modules():
        if hasattr(part, "first_table") and part.first_table is not None:
            part.classifier.bias.data[-1] = stop
    return model.eval()


def same(one: Response, other: Response, b: int) -> None:
    """Row b of `one` is the only row of `other`."""
    n = int(one.lengths[b])
    assert n == int(other.lengths[0]) and bool(one.stopped[b]) == bool(other.stopped[0])
    assert torch.equal(one.codes[b, :, :n], other.codes[0]) and not bool(one.codes[b, :, n:].any())


def unequal(kind: str, sampling: Sampling, seeds: Tensor | None = SEEDS):
    """A model and a response of it whose rows have unequal lengths."""
    condition, codes, lengths = batch()
    for stop in (3.0, 5.0, 4.0, 6.0, 2.0, 8.0):
        model = sharp(kind, stop)
        response = model.generate(condition, sampling, seeds=seeds)
        if len(set(response.lengths.tolist())) > 1:
            return model, response, (condition, codes, lengths)
    raise AssertionError("no stop bias makes the rows unequal")


@pytest.mark.parametrize("kind", ["ar", "unified"])
def test_greedy_generation_is_the_argmax_of_teacher_forcing(kind: str) -> None:
    model, response, (condition, *_) = unequal(kind, GREEDY)
    codes, lengths = response.codes, response.lengths
    logits = model.first_logits(condition, codes, lengths)
    for b, n in enumerate(lengths.tolist()):
        first = logits[b].clone()
        first[0, 16] = -torch.inf  # it cannot stop at once
        assert torch.equal(first[:n].argmax(1), codes[b, 0, :n])
        assert not bool(response.stopped[b]) or int(first[n].argmax()) == 16
        assert bool(response.stopped[b]) or n == GREEDY.max_ar_steps


FILTERED = dataclasses.replace(SAMPLED, top_k=6, top_p=0.9, repetition_penalty=1.3, length_penalty=0.2)
AWARE = dataclasses.replace(SAMPLED, repetition_window=4, repetition_ratio=0.25)


@pytest.mark.parametrize(
    ("kind", "sampling"),
    [
        pytest.param("ar", GREEDY, id="greedy"),
        pytest.param("ar", SAMPLED, id="sampled"),
        pytest.param("split", FILTERED, id="filtered-split"),
        pytest.param("unified", FILTERED, id="filtered-unified"),
        pytest.param("ar", dataclasses.replace(SAMPLED, mirostat_tau=2.0), id="mirostat"),
        pytest.param("ar", AWARE, id="aware"),
        pytest.param("ar", dataclasses.replace(GREEDY, beam_width=3), id="beam"),
    ],
)
def test_a_row_does_not_depend_on_its_neighbours(kind: str, sampling: Sampling) -> None:
    model, together, (condition, codes, lengths) = unequal(kind, sampling)
    assert together.codes.shape[1] == (1 if kind == "ar" else 4)
    for b in range(3):
        alone, _, _ = row(condition, codes, lengths, b)
        same(together, model.generate(alone, sampling, seeds=SEEDS[b : b + 1]), b)
    order = torch.tensor([2, 0, 1])
    again = model.generate(condition.select(order), sampling, seeds=SEEDS[order])
    assert torch.equal(again.codes, together.codes[order])


@pytest.mark.parametrize("backbone", [Transformer, RetNet, Llama, Mixtral, BitNet])
def test_every_backbone_speaks_in_batches(backbone: type[Backbone]) -> None:
    torch.manual_seed(0)
    sizes = {"levels": 4, "size": 16, "symbols": 12}
    model = Split(AR(backbone(32, 2, 2), **sizes), NAR(backbone(32, 2, 2), **sizes)).eval()
    sharpen(model)
    model.ar.classifier.bias.data[16] = 3.0
    condition, codes, lengths = batch()
    for sampling in (SAMPLED, dataclasses.replace(GREEDY, beam_width=3)):
        together = model.generate(condition, sampling, seeds=SEEDS)
        for b in range(3):
            alone, _, _ = row(condition, codes, lengths, b)
            same(together, model.generate(alone, sampling, seeds=SEEDS[b : b + 1]), b)
    # Cached steps say what one pass over the whole says.
    greedy = model.generate(condition, GREEDY)
    logits = model.ar.logits(condition, greedy.codes, greedy.lengths)
    logits[:, 0, 16] = -torch.inf
    for b, n in enumerate(greedy.lengths.tolist()):
        assert torch.equal(logits[b, :n].argmax(1), greedy.codes[b, 0, :n])


@pytest.mark.parametrize("kind", ["ar", "split", "unified"])
@pytest.mark.parametrize("sampling", [GREEDY, FILTERED, dataclasses.replace(SAMPLED, mirostat_tau=2.0)])
@torch.no_grad()
def test_frames_come_one_by_one(kind: str, sampling: Sampling) -> None:
    """After each step there is all of the first codebook so far, and at the end what `generate` gives."""
    model, whole, (condition, *_) = unequal(kind, sampling)
    steps = 0
    for steps, response in enumerate(model.first_frames(condition, sampling, SEEDS), 1):
        assert response.steps == steps and response.codes.shape == (3, 1, steps)
        assert torch.equal(response.lengths, whole.lengths.clamp(max=steps))
        assert torch.equal(response.stopped, whole.stopped & (whole.lengths < steps))
        known = min(steps, whole.codes.shape[2])
        assert torch.equal(response.codes[..., :known], whole.codes[:, :1, :known])
    assert steps == whole.steps and torch.equal(response.stopped, whole.stopped)


def test_half_precision_speaks_too() -> None:
    torch.manual_seed(0)
    sizes = {"levels": 4, "size": 16, "symbols": 12}
    model = Split(AR(Transformer(32, 2, 2), **sizes), NAR(Transformer(32, 2, 2), voice_summary=True, **sizes)).eval()
    condition, codes, lengths = batch()
    levels = torch.tensor([1, 2, 3])
    wanted = model.loss(condition, codes, lengths, levels).total.item()
    model.bfloat16()
    assert model.loss(condition, codes, lengths, levels).total.item() == pytest.approx(wanted, rel=0.01)
    assert model.generate(condition, SAMPLED, seeds=SEEDS).codes.shape[1] == 4


def test_seeds_decide() -> None:
    model = sharp("split")
    condition, _, _ = batch()
    one = model.generate(condition, SAMPLED, seeds=SEEDS)
    assert torch.equal(one.codes, model.generate(condition, SAMPLED, seeds=SEEDS).codes)
    assert not torch.equal(one.codes, model.generate(condition, SAMPLED, seeds=SEEDS + 1).codes)
    torch.manual_seed(5)
    drawn = model.generate(condition, SAMPLED)
    torch.manual_seed(5)
    assert torch.equal(drawn.codes, model.generate(condition, SAMPLED).codes)
    # A longer limit goes on from the same start.
    longer = model.generate(condition, dataclasses.replace(SAMPLED, max_ar_steps=20), seeds=SEEDS)
    assert torch.equal(longer.codes[:, 0, :12], one.codes[:, 0])


def test_sampling_follows_the_models_probabilities() -> None:
    model = sharp("ar", stop=2.0)
    condition, codes, lengths = batch(1)
    many = condition.select(torch.zeros(3000, dtype=torch.long))
    response = model.generate(many, Sampling(ar_temp=1.0, max_ar_steps=1), seeds=torch.arange(3000))
    logits = model.logits(condition, codes, lengths)[0, 0]
    probability = logits[:16].softmax(0)  # no stop at the first frame
    found = response.codes[:, 0, 0].bincount(minlength=16) / 3000
    assert torch.allclose(found, probability, atol=0.03)


def test_the_limit_cuts_and_says_so() -> None:
    condition, _, _ = batch()
    steps: list[int] = []
    endless = sharp("ar", stop=-100.0).generate(condition, GREEDY, on_step=steps.append)
    assert endless.codes.shape == (3, 1, 12) and endless.lengths.tolist() == [12] * 3
    assert not bool(endless.stopped.any()) and endless.steps == 12 and steps == list(range(1, 13))
    # A response has a frame at least, however much the model wants to stop.
    brief = sharp("ar", stop=100.0).generate(condition, GREEDY)
    assert brief.codes.shape == (3, 1, 1) and brief.lengths.tolist() == [1] * 3
    assert bool(brief.stopped.all()) and brief.steps == 2
    beams = sharp("ar", stop=100.0).generate(condition, dataclasses.replace(GREEDY, beam_width=4))
    assert beams.lengths.tolist() == [1] * 3 and bool(beams.stopped.all())


def test_finished_rows_are_dropped() -> None:
    model, response, (condition, *_) = unequal("ar", SAMPLED)
    model.backbone.calls.clear()
    model.generate(condition, SAMPLED, seeds=SEEDS)
    rows = [n for n, _ in model.backbone.calls]
    assert rows[0] == 3 and rows[-1] < 3 and rows == sorted(rows, reverse=True)
    assert len(rows) == response.steps


def test_a_longer_length_penalty_lengthens() -> None:
    condition, _, _ = batch(16)
    model = sharp("ar", stop=3.0)
    lengths = [
        model.generate(
            condition,
            Sampling(ar_temp=1.0, max_ar_steps=60, length_penalty=penalty),
            seeds=torch.arange(16),
        ).lengths.sum()
        for penalty in (-1.0, 0.0, 1.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_beams_find_what_is_likelier_than_greedy() -> None:
    condition, _, _ = batch(4)
    model = sharp("ar", stop=1.0)
    model.classifier.weight.data /= 4  # less sure of itself, so that the greedy way is not the best

    def likelihood(sampling: Sampling) -> Tensor:
        response = model.generate(condition, sampling)
        logp = model.logits(condition, response.codes, response.lengths)
        logp[:, 0, 16] = -torch.inf
        logp = logp.log_softmax(2)
        rows = []
        for b, n in enumerate(response.lengths.tolist()):
            tokens = torch.cat([response.codes[b, 0, :n], torch.tensor([16] if response.stopped[b] else [], dtype=int)])
            rows.append(logp[b, : len(tokens)].gather(1, tokens[:, None]).sum())
        return torch.stack(rows)

    short = dataclasses.replace(GREEDY, max_ar_steps=3)
    scores = [likelihood(dataclasses.replace(short, beam_width=w)) for w in (1, 4, 17**2)]
    best = exhaustive(model, condition)  # which the widest is too: it holds all that two steps can lead to
    assert torch.allclose(scores[2], best, atol=1e-4)
    assert bool((scores[1] <= best + 1e-4).all()) and scores[1].sum() > scores[0].sum()


def exhaustive(model: AR, condition: Condition) -> Tensor:
    """The largest log-probability of up to 3 tokens, by trying all."""
    a, b = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    codes = torch.stack([a.flatten(), b.flatten()], 1)[:, None]  # (256, 1, 2)
    best = []
    for i in range(len(condition)):
        rows = condition.select(torch.full((256,), i))
        logits = model.logits(rows, codes, torch.full((256,), 2))
        logits[:, 0, 16] = -torch.inf
        logp = logits.log_softmax(2)
        one = logp[:, 0].gather(1, codes[:, 0, :1])[:, 0]
        two = one + logp[:, 1].gather(1, codes[:, 0, 1:])[:, 0]
        best.append(torch.stack([(one + logp[:, 1, 16]).max(), (two + logp[:, 2].amax(1)).max()]).max())
    return torch.stack(best)


def test_the_nar_goes_level_by_level() -> None:
    model = sharp("nar")
    condition, codes, lengths = batch()
    first = Response(codes[:, :1], lengths, torch.ones(3, dtype=torch.bool), steps=4)
    response = model.generate(condition, GREEDY, first)
    assert response.codes.shape == (3, 4, 9) and response.steps == 4 and bool(response.stopped.all())
    for level in range(1, 4):
        logits = model.logits(condition, response.codes, lengths, torch.full((3,), level))
        for b, n in enumerate(lengths.tolist()):
            assert torch.equal(response.codes[b, level, :n], logits[b, :n, :16].argmax(1))
    fewer = model.generate(condition, dataclasses.replace(GREEDY, max_nar_levels=1), first)
    assert torch.equal(fewer.codes, response.codes[:, :2])
    none = model.generate(condition, dataclasses.replace(GREEDY, max_nar_levels=0), first)
    assert torch.equal(none.codes, first.codes)
    with pytest.raises(VocolabError, match="first codebook"):
        model.generate(condition, GREEDY)


def test_the_nar_never_says_stop() -> None:
    model = sharp("nar")
    model.classifier.bias.data[16] = 100.0
    condition, codes, lengths = batch()
    response = model.generate(condition, SAMPLED, Response(codes[:, :1], lengths, lengths > 0), seeds=SEEDS)
    assert int(response.codes.max()) < 16


def test_every_frame_and_level_has_its_own_number() -> None:
    numbers = torch.cat([uniforms(SEEDS, 50, stream) for stream in range(10)])
    assert numbers.unique().numel() == numbers.numel()


@pytest.mark.parametrize("kind", ["split", "unified"])
def test_given_levels_are_gone_on_from(kind: str) -> None:
    model = sharp(kind)
    condition, _, _ = batch()
    whole = model.generate(condition, SAMPLED, seeds=SEEDS)
    first = dataclasses.replace(whole, codes=whole.codes[:, :2])
    assert torch.equal(model.generate(condition, SAMPLED, first, seeds=SEEDS).codes, whole.codes)


def learn(model, condition: Condition, codes: Tensor, lengths: Tensor, updates: int) -> None:
    """Learn by heart."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(updates):
        losses = model.loss(condition, codes, lengths)
        optimizer.zero_grad()
        (losses.total / losses.tokens).backward()
        optimizer.step()
    model.eval()


def spoken() -> tuple[Condition, Tensor, Tensor, Tensor]:
    """Two sentences whose frames follow from their symbols: symbol s is said in 2 or 3 frames of code s + 1."""
    text = torch.tensor([[1, 4, 7, 5, 9, 2], [1, 8, 6, 2, 0, 0]])
    text_lengths = torch.tensor([6, 4])
    durations = torch.tensor([[1, 2, 3, 2, 3, 1], [1, 3, 2, 1, 0, 0]])
    owners = torch.full((2, 12), -1)
    codes = torch.zeros(2, 2, 12, dtype=torch.long)
    for b in range(2):
        said = text[b].repeat_interleave(durations[b])
        owners[b, : len(said)] = torch.arange(6).repeat_interleave(durations[b])
        codes[b, 0, : len(said)] = said + 1
        codes[b, 1, : len(said)] = (said + torch.arange(len(said))) % 16
    prompt = codes[:, :, :2]
    return Condition(text, text_lengths, prompt, torch.tensor([2, 1])), codes, durations.sum(1), owners


@pytest.mark.parametrize("kind", ["split", "unified"])
def test_all_levels_are_learnt_together(kind: str) -> None:
    """What to say, and to stop behind it: in the program `vall_e`, a split AR never sees a stop target."""
    torch.manual_seed(0)
    sizes = {"levels": 2, "size": 16, "symbols": 12}
    split = kind == "split"
    model = Split(AR(Tiny(), **sizes, corrupt=0.1), NAR(Tiny(), **sizes)) if split else Unified(Tiny(), **sizes)
    condition, codes, lengths, _ = spoken()
    learn(model, condition, codes, lengths, 120 if split else 200)
    response = model.generate(condition, dataclasses.replace(GREEDY, max_ar_steps=100))
    assert response.lengths.tolist() == lengths.tolist() == [12, 7] and bool(response.stopped.all())
    assert torch.equal(response.codes, codes)


def test_alignment_shows_what_is_being_said() -> None:
    torch.manual_seed(0)
    model = AR(Tiny(), 2, 16, 12)
    condition, _, _, _ = spoken()
    g = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def sentence() -> tuple[Condition, Tensor, Tensor, Tensor]:
        text = torch.randint(4, 12, (16, 4), generator=g)  # each symbol is said in two frames
        codes = text.repeat_interleave(2, dim=1)[:, None].repeat(1, 2, 1)
        n = torch.full((16,), 4)
        return Condition(text, n, torch.zeros(16, 2, 1, dtype=torch.long), n // 4), codes, 2 * n

    for _ in range(180):
        losses = model.loss(*sentence())
        optimizer.zero_grad()
        (losses.total / losses.tokens).backward()
        optimizer.step()
    condition, codes, lengths = sentence()
    owed = model.eval().alignment(condition, codes, lengths)
    assert owed.shape == (16, 4, 8) and float(owed.min()) > -1e-4
    begins = owed[:, :, ::2].argmax(dim=1)  # at the first frame of a symbol nothing else can tell what comes
    assert (begins == torch.arange(4)).float().mean() > 0.8


class Waits(TorchDispatchMode):
    """Counts how often a number of a tensor is asked for, for which a GPU would be waited for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("backbone", [Transformer, Llama, RetNet, BitNet])
def test_the_levels_of_a_nar_wait_for_no_number(backbone, monkeypatch) -> None:
    """The longest row is asked for before the first level; inside the levels nothing is asked."""
    condition, codes, lengths = batch()
    model = NAR(backbone(32, 2, 2), levels=4, size=16, symbols=12).eval()
    first = Response(codes[:, :1], lengths, torch.ones_like(lengths, dtype=torch.bool))
    counts, plain = [], type(model).level_codes
    captured = lambda *given: inside(plain, *given)  # noqa: E731
    monkeypatch.setattr(type(model), "level_codes", captured)
    for levels in (1, 3):
        with Waits() as waits, torch.no_grad():
            found = model.generate_rest(condition, dataclasses.replace(SAMPLED, max_nar_levels=levels), first, SEEDS)
        assert found.codes.shape[1] == 1 + levels
        counts.append(waits.count)
    assert counts == [1, 1]  # the longest row


def inside(level, *given):
    with Capturing():
        return level(*given)


def test_the_experts_of_a_mixture_are_waited_for_once_a_layer(monkeypatch) -> None:
    """Which positions an expert has decides the sizes of its products."""
    asked = []
    plain = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: asked.append(1) or plain(self))
    for backbone in (Mixtral(32, 2, 3, experts=4), RetNet(32, 2, 3, experts=4)):
        asked.clear()
        with Waits() as waits, torch.no_grad():
            backbone.eval()(torch.randn(2, 9, 32), torch.tensor([9, 7]), causal=False)
        assert (len(asked), waits.count) == (3, 0)
