"""`torch.compile` takes every backbone, at more than one length, in training and in eval."""

from __future__ import annotations

import pytest
import torch

from vocolab.lm import backbones, fast

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
            hidden[0].square().sum().backward()
            assert hidden.isfinite().all()
        else:
            torch.testing.assert_close(hidden, model(x, lengths, causal=causal).hidden, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["Transformer", "RetNet", "Llama", "BitNet", "Mixtral"])
def test_a_backbone_compiles(name):
    """As one graph; only a mixture, where the data choose the experts, is in several."""
    torch.manual_seed(0)
    more = {"experts": 2} if name == "Mixtral" else {}
    model = getattr(backbones, name)(**SMALL, **more)
    compiled = torch.compile(model, backend="eager", fullgraph=name != "Mixtral")
    for training in (True, False):
        for causal in (True, False):
            check(model.train(training), compiled, causal)


def test_a_prepared_backbone_compiles_too():
    torch.manual_seed(0)
    model = fast.prepare(backbones.BitNet(**SMALL))
    with torch.no_grad():
        check(model, torch.compile(model, backend="eager", fullgraph=True), causal=True)
