"""What is kept of a weight in eval never outlives it."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vocolab.lm.backbones.bitnet import BitLinear
from vocolab.lm.backbones.linear import PACKED_ROWS, PackedLinear

KINDS = [PackedLinear, BitLinear]


def plain(module, x):
    """Its result as training computes it."""
    twin = type(module)(module.in_features, module.out_features, module.bias is not None, dtype=module.weight.dtype)
    twin.load_state_dict(module.state_dict())
    return twin.train()(x).detach()


def change_in_place(module):
    with torch.no_grad():
        module.weight.mul_(torch.randn_like(module.weight))
    return module


def load(module):
    state = {name: torch.randn_like(value) for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    return module


def load_assigned(module):
    module.load_state_dict({k: torch.randn_like(v) for k, v in module.state_dict().items()}, assign=True)
    return module


def train_a_step(module):
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.3)
    module.train()(torch.randn(5, 8)).square().sum().backward()
    optimizer.step()
    return module.eval()


def step_in_eval(module):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    module(torch.randn(5, 8)).square().sum().backward()
    optimizer.step()
    return module


def copied_and_changed(module):
    return change_in_place(copy.deepcopy(module))


def written_through_data(module):
    module.weight.data.copy_(torch.randn_like(module.weight))
    return module.eval()


def there_and_back(module):
    return module.to(torch.bfloat16).to(torch.float32)


CHANGES = [
    change_in_place,
    load,
    load_assigned,
    train_a_step,
    step_in_eval,
    copied_and_changed,
    written_through_data,
    there_and_back,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("rows", [1, 8])
def test_a_changed_weight_counts_at_once(kind, change, rows):
    torch.manual_seed(0)
    module, x = kind(8, 6).eval(), torch.randn(rows, 8)
    with torch.no_grad():
        before = module(x)
        torch.testing.assert_close(before, plain(module, x), atol=1e-6, rtol=1e-5)
    changed = change(module)
    with torch.no_grad():
        after = changed(x)
        torch.testing.assert_close(after, plain(changed, x), atol=1e-6, rtol=1e-5)
    if change is not there_and_back:
        assert not torch.allclose(before, after, atol=1e-3)
    if change is copied_and_changed:
        torch.testing.assert_close(module(x).detach(), before, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_kept_is_saved(kind):
    module = kind(8, 6).eval()
    with torch.no_grad():
        module(torch.randn(8, 8))
    assert set(module.state_dict()) == {"weight", "bias"}
    assert module._kept is not None and copy.deepcopy(module)._kept is None
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert torch.load(file, weights_only=False)._kept is None
    assert module.train()._kept is None


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_made_once(kind, monkeypatch):
    module, made = kind(8, 6).eval(), []
    prepare = module._prepare
    monkeypatch.setattr(module, "_prepare", lambda rows: made.append(rows) or prepare(rows))
    with torch.inference_mode():
        for _ in range(3):
            module(torch.randn(8, 1, 8))
    assert len(made) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_weights_made_in_inference_mode_work(kind):
    with torch.inference_mode():
        module = kind(8, 6).eval()
        assert module(torch.randn(8, 8)).shape == (8, 6)


@pytest.mark.parametrize("rows", [1, 3, 4, 8, 24, 25, 60])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_packed_weights_multiply_as_plain_ones(rows, bias, dtype):
    torch.manual_seed(0)
    module, x = PackedLinear(24, 40, bias, dtype=dtype).eval(), torch.randn(rows, 1, 24, dtype=dtype)
    with torch.no_grad():
        torch.testing.assert_close(module(x), F.linear(x, module.weight, module.bias))
    assert (module._kept is None) == (rows not in PACKED_ROWS or dtype != torch.float32)


def test_packed_weights_follow_the_batch_as_it_shrinks():
    torch.manual_seed(0)
    module = PackedLinear(24, 40).eval()
    with torch.inference_mode():
        for rows in (8, 7, 5, 8, 4, 1, 24):
            x = torch.randn(rows, 1, 24)
            torch.testing.assert_close(module(x), F.linear(x, module.weight, module.bias), atol=1e-5, rtol=1e-5)


def test_autocast_stays_autocast():
    module = PackedLinear(24, 40).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert module(torch.randn(8, 24)).dtype == torch.bfloat16
    assert isinstance(module, nn.Linear)
