"""A linear layer whose weight lies ready: the same numbers, and torch's own way wherever gradients are asked for."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F

from vocolab.prepared import FusedLinear


def test_it_computes_what_linear_and_gelu_do():
    torch.manual_seed(0)
    for bias in (True, False):
        linear = FusedLinear(48, 80, bias).eval()
        with torch.inference_mode():
            for shape in ((48,), (1, 48), (3, 17, 48)):
                x = torch.randn(shape)
                expected = F.linear(x, linear.weight, linear.bias)
                torch.testing.assert_close(linear(x), expected)
                torch.testing.assert_close(linear.gelu(x), F.gelu(expected))
        assert linear._kept is not None


def test_a_changed_weight_counts_and_gradients_flow():
    linear = FusedLinear(8, 8).eval()
    x = torch.randn(2, 8)
    with torch.no_grad():
        linear(x)
        linear.weight.mul_(2)
        torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias))
        torch.testing.assert_close(copy.deepcopy(linear)(x), linear(x))
        torch.testing.assert_close(linear.double()(x.double()), F.linear(x.double(), linear.weight, linear.bias))
    linear.gelu(x.double()).sum().backward()
    assert linear.weight.grad is not None
