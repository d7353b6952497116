import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vocolab import _compat
from vocolab.lm import fast
from vocolab.lm.backbones import BitNet, Llama, Transformer
from vocolab.lm.backbones.bitnet import BitLinear, eight_bit, ternary
from vocolab.parts import describe

SHAPE = dict(dim=64, heads=4, layers=3, dropout=0.0)


def close(got, wanted):
    torch.testing.assert_close(got, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_golden_values_of_b1_58():
    values, scale, _ = eight_bit(torch.tensor([1.0, -2.0, 3.0, 4.0]))
    assert values.tolist() == [32, -64, 95, 127]
    close(values * scale, [0.368024, -0.736047, 1.09257, 1.460593])
    weight = torch.tensor([[0.5, -0.25, 0.1, -0.9]])
    values, scale = ternary(weight)
    assert values.tolist() == [[1, -1, 0, -1]]
    close(values * scale, [[0.4375, -0.4375, 0.0, -0.4375]])
    layer = BitLinear(4, 1, bias=False)
    layer.weight.data = weight
    wanted = [0.4375 * (0.368024 + 0.736047 - 1.460593)]
    for kind in (layer, layer.eval(), fast.prepare(layer)):
        with torch.no_grad():
            close(kind(torch.tensor([1.0, -2.0, 3.0, 4.0])), wanted)


def test_the_gradient_passes_the_rounding():
    """Straight through: that of the weights is what it would be had they not been rounded but the input had."""
    torch.manual_seed(0)
    layer, x, outer = BitLinear(16, 8), torch.randn(5, 16, requires_grad=True), torch.randn(5, 8)
    layer(x).backward(outer)
    values, scale, _ = eight_bit(x.detach())
    torch.testing.assert_close(layer.weight.grad, outer.T @ (values * scale), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.bias.grad, outer.sum(0))
    again = x.detach().requires_grad_()
    rounded, size = ternary(layer.weight.detach())
    F.linear(F.rms_norm(again, (16,), eps=1e-6), rounded * size).backward(outer)
    torch.testing.assert_close(x.grad, again.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_it_equals_transformers_layer(bias, monkeypatch):
    pytest.importorskip("transformers")
    _compat.torchaudio()
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # half a minute, for the same numbers
    from transformers.integrations.bitnet import AutoBitLinear

    torch.manual_seed(0)
    ours = BitLinear(32, 24, bias)
    theirs = AutoBitLinear(32, 24, bias, online_quant=True)
    theirs.load_state_dict(ours.state_dict())
    x, outer = 3 * torch.randn(2, 7, 32), torch.randn(2, 7, 24)
    got, wanted = ours(x), theirs(F.rms_norm(x, (32,), eps=1e-6))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    got.backward(outer), wanted.backward(outer)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, atol=1e-4, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), wanted.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 1), (2, 9)])
def test_products_are_exact_however_they_are_computed(monkeypatch, int8, shape):
    """In training, kept as floats, kept in int8; alone and in batches."""
    torch.manual_seed(0)
    monkeypatch.setattr(fast, "has_onednn", lambda *_: int8)
    layer, x = BitLinear(48, 20), torch.randn(*shape, 48)
    wanted, layer = layer(x).detach(), fast.prepare(layer)
    with torch.no_grad():
        assert torch.equal(layer(x), wanted)
        assert torch.equal(layer(x[-1:, -1:]), wanted[-1:, -1:])
    assert layer.prepared()[0].dtype == (torch.int8 if int8 else torch.float32)


def test_zeros_give_zeros_and_huge_values_do_not_overflow_half_precision():
    layer = BitLinear(2048, 8, bias=False).half()
    layer.weight.data.fill_(0.02)
    assert layer(torch.zeros(1, 2048).half()).eq(0).all()
    x = torch.full((1, 2048), 6e4).half()
    torch.testing.assert_close(layer(x), torch.full((1, 8), 2048 * 0.02).half(), atol=0.1, rtol=0.01)
    layer(x).sum().backward()
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    "backbone",
    [
        BitNet,
        lambda **shape: Llama(linear="BitLinear", **shape),
        lambda **shape: Transformer(linear="BitLinear", **shape),
    ],
    ids=["BitNet", "Llama", "Transformer"],
)
def test_decoding_is_equal_to_the_bit(backbone):
    """Rounding makes a difference of 1e-7 one of 1e-2 once in some ten thousand values, so there must be none."""
    torch.manual_seed(0)
    model = fast.prepare(backbone(**SHAPE))
    x, lengths = torch.randn(3, 60, SHAPE["dim"]), torch.tensor([60, 60, 60])
    with torch.no_grad():
        whole = model(x, lengths, causal=True).hidden
    state, steps = None, []
    for i in range(60):
        output = model.extend(x[:, i : i + 1], state)
        state = output.state
        steps.append(output.hidden)
    assert torch.equal(torch.cat(steps, 1), whole)
    with torch.no_grad():
        assert torch.equal(model(x[1:2, :33], torch.tensor([33]), causal=True).hidden, whole[1:2, :33])
    assert torch.equal(model(x, lengths, causal=True).hidden.detach(), whole)  # with gradient, too
    lengths = torch.tensor([60, 41, 3])  # a padded batch, read at once, and a step of all
    state = model.extend(x[:, :-1], None, lengths - 1).state
    last = x[torch.arange(3), lengths - 1][:, None]
    assert torch.equal(model.extend(last, state).hidden[:, 0], whole[torch.arange(3), lengths - 1])


def test_it_is_llama_with_bitlinear_for_every_matrix():
    model = BitNet(**SHAPE)
    matrices = [part for part in model.modules() if isinstance(part, nn.Linear)]
    assert len(matrices) == 7 * SHAPE["layers"] and all(type(part) is BitLinear for part in matrices)
    assert set(model.state_dict()) == set(Llama(**SHAPE).state_dict())
    assert describe(model)["init_args"]["linear"] == "vocolab.lm.backbones.bitnet.BitLinear"


def test_it_learns():
    """To copy the input of the position before."""
    torch.manual_seed(0)
    model = BitNet(dim=32, heads=2, layers=1, dropout=0.0)
    head = nn.Linear(32, 8)
    table = nn.Embedding(8, 32)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters(), *table.parameters()], lr=3e-3)
    lengths = torch.full((16,), 12)
    for _ in range(150):
        ids = torch.randint(8, (16, 12))
        logits = head(model(table(ids), lengths, causal=True).hidden)
        loss = F.cross_entropy(logits[:, 1:].flatten(0, 1), ids[:, :-1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.0  # 2.08 for a guess
