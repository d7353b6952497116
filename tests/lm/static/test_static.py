"""Decoding with a static state: it says what the plain way says, and its step is a function of tensors."""

from __future__ import annotations

import copy
import dataclasses
import logging

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tests.capturing import Capturing
from tests.lm.test_models import make, sharpen
from tests.lm.tiny import batch, row
from vocolab.lm import AR, NAR, LanguageModel, Response, Sampling, Split, Unified, fast, first_codebook, static
from vocolab.lm.backbones import Backbone, BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.lm.backbones.bitnet import BitLinear
from vocolab.lm.static import loop
from vocolab.lm.static.layers import step_model
from vocolab.lm.static.session import Session

SIZES = {"levels": 4, "size": 16, "symbols": 12}
SMALL = {"dim": 32, "heads": 4, "layers": 2, "ffn": 48, "dropout": 0.0}
SEEDS = torch.tensor([1, 2, 3])
GREEDY = Sampling(ar_temp=0, nar_temp=0, max_ar_steps=45)
FILTERED = Sampling(top_k=8, top_p=0.9, repetition_penalty=1.3, length_penalty=0.2, max_ar_steps=45)
CASES = {
    "Transformer": lambda: Transformer(**SMALL),
    "RetNet": lambda: RetNet(**SMALL),
    "RetNet-experts": lambda: RetNet(**SMALL, experts=4),
    "Llama": lambda: Llama(**SMALL),
    "Llama-ternary": lambda: Llama(**SMALL, linear=BitLinear),
    "Mixtral": lambda: Mixtral(**SMALL, experts=4),
    "BitNet": lambda: BitNet(**SMALL),
}
# The wish to stop with which rows of each case stop at unlike frames, one of them late.
STOP = {"Transformer": 4.0, "RetNet": -4.0, "Llama": -2.0}


def traced(step: static.graphs.Step, device: torch.device) -> static.graphs.Step:
    """The operations of one call, repeated as they were: what a CUDA graph does, on a CPU."""
    return make_fx(lambda: step())()


def model_of(backbone: Backbone, cls: type = AR, stop: float = -2.0, **options) -> LanguageModel:
    """A model whose rows differ and stop at unlike frames."""
    torch.manual_seed(1)
    model = Split(AR(backbone, **SIZES, **options), NAR(Llama(**SMALL), **SIZES)) if cls is Split else None
    model = model or cls(backbone, **SIZES, **options)
    for name, weight in model.named_parameters():
        if "backbone" in name and weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.25)  # the past matters
    sharpen(model)
    first_codebook(model).classifier.bias.data[16] = stop
    return model.eval()


def decoding(model: LanguageModel, **options) -> tuple[LanguageModel, static.StaticFrames]:
    """The model as it decodes with a static state, in sessions that are soon too small or have too many rows."""
    frames = static.StaticFrames(**{"capacity": 16, "check": 3, "smallest": 1, "capture": static.eager} | options)
    return static.prepare(fast.prepare(model), frames), frames


def equal(one: Response, other: Response) -> None:
    assert torch.equal(one.codes, other.codes) and torch.equal(one.lengths, other.lengths)
    assert torch.equal(one.stopped, other.stopped) and torch.equal(one.passes, other.passes)
    assert one.steps == other.steps


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_the_plain_way_says(case):
    """Three rows of unlike lengths, and one alone; past the first capacities."""
    condition, codes, lengths = batch()
    model = model_of(CASES[case](), stop=STOP.get(case, 0.0))
    expected = fast.prepare(model).generate(condition, FILTERED, seeds=SEEDS)
    quick, frames = decoding(model)
    equal(quick.generate(condition, FILTERED, seeds=SEEDS), expected)
    assert expected.steps > 16 and expected.stopped.any() and not frames.failed
    alone, *_ = row(condition, codes, lengths, 1)
    found = quick.generate(alone, FILTERED, seeds=SEEDS[1:2])
    assert torch.equal(found.codes[0, 0], expected.codes[1, 0, : int(expected.lengths[1])])


@pytest.mark.parametrize("case", CASES)
def test_it_says_the_same_past_the_capacity_that_it_begins_with(case):
    condition, *_ = batch()
    model = model_of(CASES[case](), stop=-50.0)
    sampling = dataclasses.replace(FILTERED, max_ar_steps=loop.CAPACITY + 20)
    quick, frames = decoding(model, capacity=loop.CAPACITY, check=loop.CHECK)
    found = quick.generate(condition, sampling, seeds=SEEDS)
    equal(found, fast.prepare(model).generate(condition, sampling, seeds=SEEDS))
    assert found.steps == sampling.max_ar_steps and not frames.failed


@pytest.mark.parametrize("case", CASES)
def test_a_step_can_be_recorded_once_and_repeated(case):
    condition, *_ = batch()
    model = model_of(CASES[case](), stop=STOP.get(case, 0.0))
    sampling = dataclasses.replace(FILTERED, max_ar_steps=10)
    quick, frames = decoding(model, capture=traced, capacity=32)
    equal(quick.generate(condition, sampling, seeds=SEEDS), model.generate(condition, sampling, seeds=SEEDS))
    assert not frames.failed


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_a_pass_over_the_whole_sequence_says(case):
    condition, *_ = batch()
    quick, _ = decoding(model_of(CASES[case](), stop=STOP.get(case, 0.0)))
    response = quick.generate(condition, GREEDY)
    logits = first_codebook(quick).first_logits(condition, response.codes, response.lengths)
    for b, n in enumerate(response.lengths.tolist()):
        logits[b, 0, 16] = -torch.inf  # it cannot stop at once
        assert torch.equal(logits[b, :n].argmax(1), response.codes[b, 0, :n])
        assert not bool(response.stopped[b]) or int(logits[b, n].argmax()) == 16


SAMPLINGS = {
    "greedy": GREEDY,
    "filtered": FILTERED,
    "dynamic": Sampling(ar_temp=1.2, min_ar_temp=0.3, repetition_penalty=1.2, repetition_penalty_decay=0.5),
    "mirostat": Sampling(mirostat_tau=2.0),
    "aware": Sampling(repetition_window=4, repetition_ratio=0.25),
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_asks_the_host_nothing(case):
    """On the meta device a tensor has no values, so whatever asks for one raises, or mixes devices."""
    model = step_model(AR(CASES[case](), **SIZES).eval(), None).to("meta")
    model = step_model(model, None)
    with torch.no_grad():
        state = model.backbone.extend(torch.zeros(3, 5, 32, device="meta")).state
    for sampling in SAMPLINGS.values():
        session = Session((), model, state, 3, 16, sampling, static.eager)
        with Capturing(), torch.no_grad():
            session.step()
        assert all(tensor.is_meta for tensor, _ in session.tensors())


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("cls", [Split, Unified])
def test_every_way_of_sampling_in_every_model(cls, sampling):
    sampling = dataclasses.replace(sampling, max_ar_steps=30)
    condition, *_ = batch(languages=0)
    model = model_of(Llama(**SMALL), cls)
    quick, frames = decoding(model)
    for _ in range(2):  # the second time in sessions that hold what the first left
        equal(quick.generate(condition, sampling, seeds=SEEDS), model.generate(condition, sampling, seeds=SEEDS))
    assert not frames.failed


@pytest.mark.parametrize("window", [1, 40])
@pytest.mark.parametrize("backbone", [Transformer, Llama, Mixtral, BitNet])
def test_in_a_window(backbone, window):
    """Shorter than what is said, and longer: the ring comes round, or not."""
    condition, *_ = batch()
    model = model_of(backbone(**SMALL), window=window)
    quick, frames = decoding(model)
    for context in (0, min(window, 3)):
        sampling = dataclasses.replace(GREEDY, max_ar_steps=20, max_ar_context=context)
        expected = fast.prepare(model).generate(condition, sampling)
        equal(quick.generate(condition, sampling), expected)
    assert expected.steps > 16 and not frames.failed


@pytest.mark.parametrize("case", ["Llama", "BitNet", "RetNet", "Mixtral"])
@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "weights"])
def test_in_bfloat16(case, autocast):
    """Tokens drawn from logits that are nearly equal may differ, so the logits of a step are compared."""
    condition, *_ = batch()
    model = fast.prepare(model_of(CASES[case]())).to(torch.float32 if autocast else torch.bfloat16)
    dtype = torch.bfloat16 if autocast else None
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), torch.no_grad():
        logits, state = model.begin(condition)
        session = Session((), step_model(model, dtype), state, 3, 32, GREEDY, static.eager)
        session.load(logits, state, *torch.zeros(2, 3, 32))
        session.step()
        tokens = logits.argmax(1).clamp(max=15)
        expected, _ = model.step(tokens, state)
    assert torch.equal(session.codes[:, 0], tokens.masked_fill(session.stopped, 0))
    torch.testing.assert_close(session.logits, expected, atol=0.6, rtol=0.05)
    if case in ("Llama", "Mixtral"):
        assert session.memory.layers[0].dtype == torch.bfloat16


def test_best_of_and_a_stream_decode_with_it_too():
    condition, *_ = batch()
    model = model_of(Llama(**SMALL))
    recorded = []
    quick, _ = decoding(model, capture=lambda step, device: recorded.append(step) or step)
    sampling = dataclasses.replace(FILTERED, best_of=2)
    equal(quick.generate(condition, sampling, seeds=SEEDS), model.generate(condition, sampling, seeds=SEEDS))
    assert recorded
    with torch.inference_mode():
        parts = list(quick.first_frames(condition, FILTERED, SEEDS))
        plain = [copy.deepcopy(part) for part in model.first_frames(condition, FILTERED, SEEDS)]
    assert [part.steps for part in parts] == [*range(3, plain[-1].steps, 3), plain[-1].steps]
    for part in parts:  # each is what the plain way had then, and stays so
        equal(part, plain[part.steps - 1])


def test_two_batches_at_once_have_sessions_of_their_own_and_later_ones_use_them_again():
    condition, *_ = batch()
    recorded = []
    record = lambda step, device: recorded.append(step) or step  # noqa: E731
    quick, _ = decoding(model_of(Llama(**SMALL)), capture=record, smallest=3)
    with torch.no_grad():
        expected = list(quick.first_frames(condition, GREEDY, SEEDS))
        count = len(recorded)
        assert count == 2  # of 16 and of 32 positions; the prefix has up to 15
        pair = [quick.first_frames(condition, GREEDY, SEEDS) for _ in range(2)]
        found = list(zip(*pair, strict=True))
    for (one, other), wanted in zip(found, expected, strict=True):
        equal(one, wanted)
        equal(other, wanted)
    assert len(recorded) == 2 * count


@pytest.mark.parametrize("case", ["Llama", "RetNet"])
def test_rows_that_end_make_room(case):
    """Six rows of two conditions that end at unlike frames: sessions of six rows, of three, two and one."""
    condition, *_ = batch()
    twice, seeds = condition.select(torch.tensor([0, 1, 2, 2, 0, 1])), torch.arange(6)
    model = model_of(CASES[case](), stop=STOP.get(case, 0.0))
    expected = fast.prepare(model).generate(twice, FILTERED, seeds=seeds)
    for smallest, sizes in ((1, [6, 3, 2, 1]), (3, [6, 3]), (6, [6])):
        seen = []
        quick, frames = decoding(model, smallest=smallest, check=1)
        made = frames._session
        frames._session = lambda *given, made=made, seen=seen: seen.append(given[2]) or made(*given)
        equal(quick.generate(twice, FILTERED, seeds=seeds), expected)
        rows = list(dict.fromkeys(seen))
        assert rows == sizes[: len(rows)] and rows[-1] <= max(smallest, 2), seen


def test_changed_weights_are_seen():
    condition, *_ = batch()
    model = model_of(Llama(**SMALL))
    quick, frames = decoding(model)
    first = quick.generate(condition, GREEDY)
    with torch.no_grad():
        model.backbone.model["layers"][0].self_attn.q_proj.weight.mul_(-3)
    second = quick.generate(condition, GREEDY)
    assert not torch.equal(first.codes, second.codes)
    equal(second, fast.prepare(model).generate(condition, GREEDY))
    again = copy.deepcopy(quick)  # with what was recorded for it left behind
    equal(again.generate(condition, GREEDY), second)
    assert list(again.state_dict()) == list(model.state_dict())


def test_what_has_no_static_form_is_decoded_the_plain_way_and_that_is_said_once(caplog):
    condition, *_ = batch()

    def broken(step, device):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    for model, options in ((make("ar"), {}), (model_of(Llama(**SMALL)), {"capture": broken})):
        quick, frames = decoding(model, **options)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                equal(quick.generate(condition, GREEDY), model.eval().generate(condition, GREEDY))
        assert frames.failed and len(caplog.records) == 1
        assert frames.failed in caplog.text and "\n" not in frames.failed


def test_a_larger_state_that_cannot_be_recorded_is_no_end(caplog):
    """As where memory runs out half way: it goes on the plain way, from the step where it was."""
    condition, *_ = batch()
    model, recorded = model_of(Llama(**SMALL)), []

    def first_alone(step, device):
        if recorded:
            raise RuntimeError("CUDA out of memory")
        return recorded.append(step) or step

    with caplog.at_level(logging.WARNING):
        for streamed in (True, False):
            recorded.clear()
            quick, frames = decoding(model, capture=first_alone)
            with torch.no_grad():
                expected = model.generate(condition, FILTERED, seeds=SEEDS)
                if streamed:
                    steps = [response.steps for response in quick.first_frames(condition, FILTERED, SEEDS)]
                    assert steps == sorted(set(steps)) and steps[-1] == expected.steps
                else:
                    equal(quick.generate(condition, FILTERED, seeds=SEEDS), expected)
            assert frames.failed == "CUDA out of memory" and recorded
    assert len(caplog.records) == 2


def test_a_cpu_decodes_as_before():
    condition, *_ = batch()
    model = static.prepare(fast.prepare(model_of(Llama(**SMALL))))
    assert model.generate(condition, GREEDY).steps > 16
    assert not model.decoder._free and not model.decoder.failed


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_a_cuda_graph_says_what_the_plain_way_says(case):
    condition, *_ = batch()
    for name, part in vars(condition).items():
        setattr(condition, name, None if part is None else part.cuda())
    model = model_of(CASES[case](), stop=STOP.get(case, 0.0)).cuda()
    decoder = static.StaticFrames(capacity=16, check=3, smallest=1)
    quick = static.prepare(fast.prepare(model), decoder)
    for sampling in (GREEDY, FILTERED):
        equal(
            quick.generate(condition, sampling, seeds=SEEDS),
            fast.prepare(model).generate(condition, sampling, seeds=SEEDS),
        )
    assert not decoder.failed and decoder._free
    with torch.autocast("cuda", torch.bfloat16):  # recorded, and once more after its cache is gone
        first = quick.generate(condition, GREEDY, seeds=SEEDS)
    with torch.autocast("cuda", torch.bfloat16):
        equal(quick.generate(condition, GREEDY, seeds=SEEDS), first)
    assert not decoder.failed
