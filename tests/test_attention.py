"""Attention is torch's, and on a GPU never cuDNN's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vocolab import attention
from vocolab.attention import scaled_dot_product_attention

SOURCE = Path(attention.__file__).parent


class OnGPU(Tensor):
    """A tensor of the CPU that says it lies on a GPU."""

    is_cuda = True


def enabled(monkeypatch, q: Tensor) -> list[bool]:
    """Whether cuDNN, flash, efficient and plain attention are to choose from in a call with `q`."""
    cuda, found = torch.backends.cuda, []

    def record(*arguments: object) -> Tensor:
        found.extend(
            [
                cuda.cudnn_sdp_enabled(),
                cuda.flash_sdp_enabled(),
                cuda.mem_efficient_sdp_enabled(),
                cuda.math_sdp_enabled(),
            ]
        )
        return q

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    scaled_dot_product_attention(q, q, q)
    return found


def test_cudnn_is_not_asked_on_a_gpu_and_is_again_afterwards(monkeypatch):
    before = torch.backends.cuda.cudnn_sdp_enabled()
    q = torch.zeros(1, 1, 2, 4).as_subclass(OnGPU)
    assert enabled(monkeypatch, q) == [False, True, True, True]
    assert torch.backends.cuda.cudnn_sdp_enabled() == before


def test_there_is_one_place_that_calls_torchs_attention():
    calls = [path for path in SOURCE.rglob("*.py") if "F.scaled_dot_product_attention(" in path.read_text()]
    assert calls == [SOURCE / "attention.py"]


@pytest.mark.parametrize("kind", ["none", "bool", "added", "causal"])
def test_it_is_the_softmax_of_the_scores(kind):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 5, 4)
    seen = torch.rand(2, 1, 5, 5) < 0.7
    seen |= torch.eye(5, dtype=torch.bool)
    seen = {"none": torch.ones_like(seen), "causal": torch.ones_like(seen).tril()}.get(kind, seen)
    added = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)
    mask = {"bool": seen, "added": added}.get(kind)
    wanted = (q @ k.transpose(-1, -2) / 2 + added).softmax(-1) @ v
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, mask, causal=kind == "causal"), wanted)


@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "weights"])
@pytest.mark.parametrize("kind", ["none", "bool", "added", "causal"])
def test_trained_in_bfloat16_on_a_cpu_it_is_the_same(kind, autocast):
    """Values and gradients, by two products, within what bfloat16 has; a query that sees nothing spoils nothing."""
    torch.manual_seed(0)
    q, k, v, wanted_by = torch.randn(4, 2, 3, 40, 16)
    seen = torch.rand(2, 1, 1 if kind == "bool" else 40, 40) < 0.7
    seen[..., 0] = True
    mask = {"bool": seen, "added": torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)}.get(kind)

    def run(dtype: torch.dtype, inside: bool) -> list[Tensor]:
        given = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            out = scaled_dot_product_attention(*given, mask, causal=kind == "causal")
        out.backward(wanted_by.to(out.dtype))
        return [out, *[x.grad for x in given]]

    found = run(torch.float32 if autocast else torch.bfloat16, autocast)
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, run(torch.float32, False), strict=True):
        assert (one.float() - other).norm() <= 0.01 * other.norm()
    with torch.autocast("cpu", torch.bfloat16):
        blind = scaled_dot_product_attention(q.requires_grad_(), k, v, torch.zeros(1, 1, 1, 40, dtype=torch.bool))
        blind.sum().backward()
    assert blind.isfinite().all() and q.grad.isfinite().all()


def test_dropped_weights_keep_the_mean():
    torch.manual_seed(0)
    q = torch.zeros(1, 1, 400, 4)
    out = scaled_dot_product_attention(q, q, torch.ones_like(q), dropout=0.5)
    assert out.std() > 0.01 and abs(out.mean() - 1) < 0.02


@pytest.mark.gpu
@pytest.mark.parametrize("masked", [True, False])
def test_on_a_gpu_no_kernel_is_cudnns(masked):
    q = torch.randn(2, 4, 33, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    mask = torch.ones(2, 1, 1, 33, dtype=torch.bool, device="cuda") if masked else None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        scaled_dot_product_attention(q, q, q, mask, causal=not masked).sum().backward()
    names = [event.key for event in profile.key_averages()]
    assert any("attention" in name for name in names) and not any("cudnn" in name for name in names)
