"""Backbones under torch.compile: the same numbers, few compiled forms, no other name."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from vocolab.lm import backbones, fast
from vocolab.lm.backbones import Backbone
from vocolab.lm.backbones.base import Window
from vocolab.lm.backbones.compiled import Compiled, bucket

DIM = 16
SMALL = dict(dim=DIM, heads=2, layers=2, ffn=24, dropout=0.0)
FIVE = [("Transformer", {}), ("RetNet", {}), ("Llama", {}), ("Mixtral", {}), ("BitNet", {})]
OTHERS = [("Transformer", {"adaptive_levels": 8}), ("RetNet", {"experts": 4}), ("RetNet", {"chunk": 4, "value": 32})]
SHAPES = [(2, 60), (3, 100), (4, 150), (1, 140)]  # rows and positions of batches: three buckets


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test compiles anew, and leaves torch's settings as they were."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch():
        yield
    torch._dynamo.reset()


def name_of(case: tuple[str, dict]) -> str:
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


def make(case: tuple[str, dict], **more: object) -> Backbone:
    torch.manual_seed(1)
    backbone: Backbone = getattr(backbones, case[0])(**{**SMALL, **case[1], **more})
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.15)
    return backbone


def inputs(rows: int, length: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, length, DIM, generator=torch.Generator().manual_seed(length))
    return x.to(device), length - torch.arange(rows, device=device)


def found(backbone: Backbone, rows: int, length: int, causal: bool, **more: object) -> dict[str, Tensor]:
    """The hidden states of the real positions, the balance loss and, in training, the gradients of all weights."""
    x, lengths = inputs(rows, length, next(backbone.parameters()).device)
    backbone.zero_grad()
    with torch.set_grad_enabled(backbone.training):
        output = backbone(x, lengths, causal=causal, **more)
    real = torch.arange(length, device=x.device) < lengths[:, None]
    results = {"hidden": output.hidden[real]}
    if output.aux_loss is not None:
        results["aux_loss"] = output.aux_loss
    if backbone.training:
        # Squares would add up to the width: the hidden states are normed, and no gradient would be left of them.
        sum(value.pow(3).sum() for value in results.values()).backward()
        results |= {n: p.grad.clone() for n, p in backbone.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in results.items()}


def compare(backbone: Backbone, plain: Backbone, rows: int, length: int, causal: bool, **more: object) -> None:
    got, wanted = (found(b, rows, length, causal, **more) for b in (backbone, plain))
    assert got.keys() == wanted.keys()
    if backbone.training:
        assert all(value.abs().max() > 1e-2 for value in wanted.values() if value.dim() > 1), (
            "there is something to compare"
        )
    for name, value in wanted.items():
        loose = 50 if value.is_cuda else 1
        # Of what is 0 but for rounding, as the gradient of a bias of keys, there is no relative error.
        size = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(
            got[name], value, atol=loose * 2e-5 * size, rtol=loose * 1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def check(
    case: tuple[str, dict],
    backend: str,
    directions: tuple[bool, ...] = (True, False),
    device: str = "cpu",
    **more: object,
) -> None:
    """Compiled and plain give the same, in training and eval; the second time around nothing is compiled."""
    plain, backbone = (make(case, **more).train().to(device) for _ in range(2))
    names = list(backbone.state_dict())
    counter = CompileCounterWithBackend(backend)
    backbone.compiled = Compiled(counter)
    forms = 0
    for _ in range(2):
        for training in (True, False):
            for rows, length in SHAPES:
                for causal in directions:
                    compare(backbone.train(training), plain.train(training), rows, length, causal)
        forms, before = counter.frame_count, forms
    assert forms == before > 0, f"{forms - before} more of {forms}: {dict(counters)}"
    assert list(backbone.state_dict()) == names


def test_the_same_numbers_and_nothing_compiled_twice() -> None:
    check(("Llama", {}), "eager", (True,))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("case", FIVE + OTHERS, ids=name_of)
def test_the_same_numbers_both_ways(case: tuple[str, dict], backend: str) -> None:
    check(case, backend)


@pytest.mark.slow
@pytest.mark.parametrize("case", FIVE, ids=name_of)
def test_the_same_numbers_with_gradient_checkpointing(case: tuple[str, dict]) -> None:
    check(case, "aot_eager", gradient_checkpointing=True)


@pytest.mark.gpu
@pytest.mark.parametrize("case", FIVE, ids=name_of)
def test_the_same_numbers_on_a_gpu(case: tuple[str, dict]) -> None:
    check(case, "inductor", device="cuda")


def test_gradient_checkpointing_in_a_compiled_block() -> None:
    case = ("Llama", {"gradient_checkpointing": True})
    plain, backbone = make(case).train(), make(case).train()
    backbone.compiled = Compiled("aot_eager")
    for rows, length in SHAPES[:2]:
        compare(backbone, plain, rows, length, True)


@pytest.mark.parametrize("case", [("Llama", {}), pytest.param(("BitNet", {}), marks=pytest.mark.slow)], ids=name_of)
def test_a_window_is_left_out_of_the_compiled_block(case: tuple[str, dict]) -> None:
    plain, backbone = make(case).train(), make(case).train()
    counter = CompileCounterWithBackend("eager")
    backbone.compiled = Compiled(counter)
    forms = []
    for prefix in (9, 60, 12, 17, 80, 130):  # two buckets, and then any length
        window = Window(8, torch.tensor([prefix, prefix - 3, prefix - 5]), 16)
        compare(backbone, plain, 3, 70 + prefix, True, window=window)
        forms.append(counter.frame_count)
    assert forms[0] < forms[1] == forms[-1]


@pytest.mark.parametrize("case", FIVE[:1] + [pytest.param(c, marks=pytest.mark.slow) for c in FIVE[1:]], ids=str)
@pytest.mark.parametrize("prepared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_whole_backbone_compiles_at_two_lengths(case: tuple[str, dict], prepared: bool) -> None:
    """By hand, in eval and in training, as the model is and as it is prepared for decoding on a CPU."""
    plain = make(case, layers=1)
    backbone = fast.prepare(plain) if prepared else plain
    forward = torch.compile(backbone, backend="aot_eager")
    for training in (False, True):
        backbone.train(training), plain.train(training)
        for rows, length in ((1, 7), (4, 12)):
            x, lengths = inputs(rows, length)
            with torch.set_grad_enabled(training):
                got = forward(x, lengths, causal=True).hidden
                wanted = plain(x, lengths, causal=True).hidden
            torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)


def test_decoding_and_copies_are_left_alone() -> None:
    backbone = make(("Llama", {})).eval()
    counter = CompileCounterWithBackend("eager")
    backbone.compiled = Compiled(counter)
    x, lengths = inputs(2, 8)
    decoded = backbone.extend(x).hidden
    twin = fast.prepare(backbone)
    assert twin.compiled is None and twin(x, lengths, causal=True).hidden.shape == x.shape
    assert counter.frame_count == 0
    copied = copy.deepcopy(backbone)
    for parameter in copied.parameters():
        parameter.data.zero_()
    with torch.no_grad():  # a copy computes with its own weights, the model with its
        assert copied(x, lengths, causal=True).hidden.abs().sum() == 0
        torch.testing.assert_close(backbone(x, torch.tensor([8, 8]), causal=True).hidden, decoded)
    assert counter.frame_count > 0


def test_buckets_are_few_and_near() -> None:
    assert [bucket(n) for n in (1, 64, 65, 1000, 1024, 1025, 2048, 2049)] == [64, 64, 128, 1024, 1024, 1152, 2048, 2304]
    assert all(n <= bucket(n) <= max(n + 63, n * 9 / 8) for n in range(1, 5000))
    assert len({bucket(n) for n in range(500, 4000)}) <= 8 + 2 * 8 + 1


def test_the_share_of_padding_is_counted_in_training() -> None:
    compiled = Compiled("eager")
    assert compiled.padding() is None
    for rows, length in ((2, 60), (4, 120)):
        assert compiled.padded(*inputs(rows, length)).shape == (rows, bucket(length), DIM)
    with torch.no_grad():
        compiled.padded(*inputs(1, 100))
    real, positions = 60 + 59 + 120 + 119 + 118 + 117, 2 * 64 + 4 * 128
    assert compiled.padding() == pytest.approx(1 - real / positions)
    assert compiled.padding() is None
