"""`torch.compile` takes every backbone in training and in eval, and the losses of AR and NAR, at two lengths each."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.lm.tiny import batch
from vocolab.lm import AR, NAR, backbones, fast

SMALL = dict(dim=16, heads=2, layers=1, ffn=16)
LENGTHS = (9, 14)


@pytest.fixture(autouse=True)
def forgotten():
    yield
    torch.compiler.reset()


def check(model, compiled, causal):
    """In eval the same numbers, in training (whose dropout is drawn otherwise) finite ones with gradients."""
    for length in LENGTHS:
        x, lengths = torch.randn(2, length, 16), torch.tensor([length, length - 3])
        hidden = compiled(x, lengths, causal=causal).hidden
        if model.training:
            hidden[0].pow(3).sum().backward()
            assert hidden.isfinite().all()
        else:
            torch.testing.assert_close(hidden, model(x, lengths, causal=causal).hidden, atol=1e-5, rtol=1e-5)


# Each pair of mode and direction costs a compilation; these two pairs have both modes and both directions.
TRAINING, EVALUATION = (True, True), (False, False)
BACKBONES = [(name, *pair) for name in ("Transformer", "RetNet", "Llama", "BitNet") for pair in (TRAINING, EVALUATION)]
BACKBONES += [("Mixtral", *EVALUATION), pytest.param("Mixtral", *TRAINING, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("name", "training", "causal"), BACKBONES)
def test_a_backbone_compiles(name, training, causal):
    """As one graph; only a mixture, where the data choose the experts, is in several."""
    torch.manual_seed(0)
    more = {"experts": 2} if name == "Mixtral" else {}
    model = getattr(backbones, name)(**SMALL, **more).train(training)
    check(model, torch.compile(model, backend="eager", fullgraph=name != "Mixtral"), causal)


@pytest.mark.parametrize(
    ("training", "causal"),
    [
        (True, False),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [(True, True), (False, True), (False, False)]),
    ],
)
def test_retention_in_chunks_compiles_with_its_backward_pass(training, causal):
    """`aot_eager` refuses an operation in place that autograd forbids. Both ways includes what is done causally.

    One form for every length is what the second length brings about; asked for, it saves the form of the first alone.
    """
    torch.manual_seed(0)
    model = backbones.RetNet(**SMALL, chunk=4, dropout=0.0).train(training)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for length in LENGTHS:  # several chunks, the last one not full
        x, lengths, gradients = torch.randn(2, length, 16), torch.tensor([length, length - 3]), []
        for either in (model, compiled):
            loss = either(x, lengths, causal=causal).hidden[0].pow(3).sum()
            gradients.append(torch.autograd.grad(loss, model.blocks[0].qkvg.weight)[0])
        assert gradients[1].abs().max() > 1e-2
        torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_a_prepared_backbone_compiles_too():
    torch.manual_seed(0)
    model = fast.prepare(backbones.BitNet(**SMALL))
    with torch.no_grad():
        check(model, torch.compile(model, backend="eager", fullgraph=True), causal=True)


@pytest.mark.parametrize("kind", [AR, NAR])
def test_a_compiled_loss_is_the_loss(kind):
    """In training, without dropout. Packing rows of unequal lengths parts it into several graphs."""
    torch.manual_seed(0)
    model = kind(backbones.Transformer(**SMALL, dropout=0.0), levels=4, size=16, symbols=12)
    loss = model.first_loss if kind is AR else partial(model.rest_loss, levels=torch.tensor([1, 3, 2]))
    compiled = torch.compile(loss, backend="eager")
    for length in LENGTHS:
        given = batch(longest=length)
        losses, expected = compiled(*given), loss(*given)
        torch.testing.assert_close(losses.total, expected.total)
        torch.testing.assert_close(losses.level_loss, expected.level_loss)
        assert torch.equal(losses.level_tokens, expected.level_tokens)
        weight = model.text_table.weight
        found, wanted = (torch.autograd.grad(each.total, weight)[0] for each in (losses, expected))
        torch.testing.assert_close(found, wanted)
