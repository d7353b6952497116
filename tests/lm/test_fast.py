"""A prepared model computes what the model computes, shares its weights, and keeps nothing of them that has changed."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.lm import tiny
from vocolab.lm import AR, fast
from vocolab.lm.backbones import BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.lm.fast import PACKED_ROWS, KeptBitLinear, PackedLinear, QuickRMSNorm

KINDS = [PackedLinear, KeptBitLinear]
SMALL = dict(dim=32, heads=4, layers=2, ffn=48)
BACKBONES = [
    lambda: Transformer(**SMALL),
    lambda: RetNet(**SMALL),
    lambda: RetNet(**SMALL, experts=4),
    lambda: Llama(**SMALL),
    lambda: Mixtral(**SMALL, experts=4),
    lambda: BitNet(**SMALL),
]


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("build", BACKBONES, ids=["Transformer", "RetNet", "Experts", "Llama", "Mixtral", "BitNet"])
def test_a_prepared_backbone_computes_what_the_backbone_does(build, rows):
    torch.manual_seed(0)
    model = build()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.15)
    quick, model = fast.prepare(model), model.eval()
    x = torch.randn(rows, 9, 32)
    lengths = torch.tensor([7, 3, 5, 1, 2])[:rows]
    with torch.inference_mode():
        found = []
        for backbone in (model, quick):
            whole = backbone(x, torch.full((rows,), 9), causal=False).hidden
            output = backbone.extend(x[:, :7], None, lengths)
            real = output.hidden[torch.arange(7) < lengths[:, None]]
            step = backbone.extend(x[:, 7:8], output.state)
            step = backbone.extend(x[:, 8:], step.state.select(torch.arange(rows).flip(0)))
            found.append(torch.cat([whole.flatten(0, 1), real, step.hidden[:, 0]]))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_preparing_leaves_the_model_as_it_is_and_shares_its_weights():
    model = AR(Llama(**SMALL, dropout=0.0), 2, 16).train()
    classes = [type(part) for part in model.modules()]
    quick = fast.prepare(model)
    assert model.training and not quick.training and not any(part.training for part in quick.modules())
    assert [type(part) for part in model.modules()] == classes
    assert {PackedLinear, QuickRMSNorm} < {type(part) for part in quick.modules()}
    assert list(quick.state_dict()) == list(model.state_dict())
    assert all(a is b for a, b in zip(quick.parameters(), model.parameters(), strict=True))
    again = fast.prepare(quick)  # once more changes nothing
    assert [type(part) for part in again.modules()] == [type(part) for part in quick.modules()]


def test_a_model_trained_after_it_was_prepared_counts_in_both():
    torch.manual_seed(0)
    batch = tiny.batch(levels=2)
    model = AR(Llama(**SMALL, dropout=0.0), 2, 16)
    quick = fast.prepare(model)
    for trained in (model, quick):
        with torch.no_grad():
            before = quick.logits(*batch)
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.3)
        trained.train().loss(*batch).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.eval(), quick.eval()
        with torch.no_grad():
            assert not torch.allclose(quick.logits(*batch), before, atol=1e-3)
            torch.testing.assert_close(quick.logits(*batch), model.logits(*batch), atol=1e-5, rtol=1e-5)


def test_a_module_in_two_places_has_one_twin():
    part = nn.Linear(4, 4)
    quick = fast.prepare(nn.Sequential(part, nn.ReLU(), part))
    assert quick[0] is quick[2] and type(quick[0]) is PackedLinear


def test_a_part_of_a_class_unknown_here_stays_as_it_is():
    class Own(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    quick = fast.prepare(nn.Sequential(Own(4, 4)))
    assert type(quick[0]) is Own


def test_a_step_of_one_position_runs_its_two_experts_alone(monkeypatch):
    torch.manual_seed(0)
    model = fast.prepare(Mixtral(**SMALL, experts=8))
    state = model.extend(torch.randn(1, 6, 32)).state
    ran, one = [], fast.feed_forward
    monkeypatch.setattr(fast, "feed_forward", lambda x, *matrices: ran.append(len(x)) or one(x, *matrices))
    output = model.extend(torch.randn(1, 1, 32), state)
    assert ran == [1] * 2 * SMALL["layers"]
    assert output.aux_loss is None


def test_the_quick_norm_is_the_norm():
    norm = QuickRMSNorm(16, 1e-6)
    nn.init.normal_(norm.weight)
    for scale in (1e-4, 1.0, 1e4):
        x = scale * torch.randn(2, 5, 16)
        torch.testing.assert_close(norm.eval()(x), norm.train()(x), atol=1e-6, rtol=1e-5)
    assert norm.eval()(torch.zeros(1, 16)).eq(0).all()


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
