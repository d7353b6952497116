"""Dropout by bytes: the share, the mean, the gradient, and torch's own wherever it does not apply."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vocolab.lm.backbones.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_kept(p):
    torch.manual_seed(0)
    x = torch.rand(200, 1003) + 1
    out = dropout(x, p, training=True)
    dropped = out == 0
    assert abs(float(dropped.float().mean()) - p) < 0.005
    scale = (out / x)[~dropped]
    assert scale.max() - scale.min() < 1e-5 and abs(float(scale[0]) * (1 - p) - 1) < 0.02
    assert abs(float(out.mean() / x.mean()) - 1) < 0.01


def test_every_element_has_its_own_chance():
    """Neither the eight that share a draw nor neighbouring draws hang together; each byte of a draw is as likely."""
    torch.manual_seed(0)
    kept = (dropout(torch.ones(4000, 16), 0.5, training=True) > 0).float()
    correlations = torch.corrcoef(kept.T) - torch.eye(16)
    assert correlations.abs().max() < 0.08
    assert (kept.mean(0) - 0.5).abs().max() < 0.04


def test_gradients_pass_where_values_do():
    torch.manual_seed(0)
    x = torch.randn(33, 7, requires_grad=True)
    out = dropout(x, 0.4, training=True)
    out.sum().backward()
    assert torch.equal(x.grad == 0, out == 0) and torch.allclose(out, x * x.grad)


def test_the_generator_decides():
    x = torch.ones(1000)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(dropout(x, 0.3, training=True))
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])


def test_nothing_happens_in_evaluation_or_without_a_share():
    x = torch.randn(50)
    module = Dropout(0.5).eval()
    assert torch.equal(module(x), x) and torch.equal(dropout(x, 0.0, training=True), x)
    assert torch.equal(dropout(x, 1.0, training=True), F.dropout(x, 1.0, True))
    assert dropout(x.bfloat16(), 0.5, training=True).dtype == torch.bfloat16
