import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from vocolab.errors import UsageError, VocolabError
from vocolab.lm.backbones import RetNet
from vocolab.lm.backbones import retention as module
from vocolab.lm.backbones.retention import Chunks, FullRetention, log_decays, remember, rotate, rotations

GOLDEN = Path(__file__).with_name("retnet_golden.json")  # of torchscale 0.3.0: what `torchscale_retnet` gave
SHAPE = dict(dim=16, heads=2, layers=2, ffn=24)
VALUE, LENGTH = 32, 9


def waves(*shape, rate):
    """Numbers that need no generator: the same in every version of everything."""
    count = torch.tensor(shape).prod()
    return (0.5 * torch.sin(rate * torch.arange(count, dtype=torch.float64))).float().view(shape)


def ours() -> RetNet:
    model = RetNet(**SHAPE, dropout=0.0, value=VALUE).eval()
    with torch.no_grad():
        for i, block in enumerate(model.blocks):
            for j, linear in enumerate([block.qkvg, block.out, block.ffn.gate_up, block.ffn.down]):
                linear.weight.copy_(waves(*linear.weight.shape, rate=1.7 + 0.3 * i + 0.1 * j))
            block.ffn_norm.weight.copy_(1 + waves(SHAPE["dim"], rate=2.9))
    return model


def inputs(batch=2, length=LENGTH):
    return 2 * waves(batch, length, SHAPE["dim"], rate=0.77)


def full(model, x, causal=True):
    with torch.no_grad():
        return model(x, torch.full((len(x),), x.shape[1]), causal=causal).hidden


@pytest.fixture
def torchscale_retnet(monkeypatch):
    """torchscale's decoder with our weights. Its imports of fairscale and timm are stood in for: no use is made of them
    and their wheels are not installable beside today's torch.
    """
    pytest.importorskip("torchscale")
    stand_ins = {name: ModuleType(name) for name in ("fairscale", "fairscale.nn", "timm", "timm.models")}
    stand_ins["fairscale.nn"].checkpoint_wrapper = stand_ins["fairscale.nn"].wrap = lambda module, **_: module
    stand_ins["timm.models.layers"] = ModuleType("timm.models.layers")
    stand_ins["timm.models.layers"].drop_path = lambda x, probability, training: x
    for name, stand_in in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    from torchscale.architecture.config import RetNetConfig
    from torchscale.architecture.retnet import RetNetDecoder

    config = RetNetConfig(
        decoder_embed_dim=SHAPE["dim"],
        decoder_value_embed_dim=VALUE,
        decoder_retention_heads=SHAPE["heads"],
        decoder_ffn_embed_dim=SHAPE["ffn"],
        decoder_layers=SHAPE["layers"],
        activation_fn="swish",
        no_output_layer=True,
        no_scale_embedding=True,
        dropout=0.0,
    )
    theirs = RetNetDecoder(config).eval()
    with torch.no_grad():
        for block, layer in zip(ours().blocks, theirs.layers, strict=True):
            dim = SHAPE["dim"]
            for name, weight in zip("qkvg", block.qkvg.weight.split([dim, dim, VALUE, VALUE]), strict=True):
                getattr(layer.retention, f"{name}_proj").weight.copy_(weight)
            layer.retention.out_proj.weight.copy_(block.out.weight)
            activated, plain = block.ffn.gate_up.weight.chunk(2)
            layer.ffn.fc1.weight.copy_(activated)
            layer.ffn.gate.weight.copy_(plain)
            layer.ffn.fc2.weight.copy_(block.ffn.down.weight)
            layer.final_layer_norm.weight.copy_(block.ffn_norm.weight)
    return theirs


def test_it_equals_torchscale_as_frozen():
    wanted = torch.tensor(json.loads(GOLDEN.read_text()))
    assert wanted.shape == (LENGTH, SHAPE["dim"]) and wanted.std() > 0.5
    torch.testing.assert_close(full(ours(), inputs())[1], wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_it_equals_torchscale_live_in_both_forms(torchscale_retnet):
    x, model = inputs(), ours()
    parallel, _ = torchscale_retnet(torch.zeros(x.shape[:2]), features_only=True, token_embeddings=x)
    torch.testing.assert_close(parallel[1], torch.tensor(json.loads(GOLDEN.read_text())), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(full(model, x), parallel, atol=1e-5, rtol=1e-5)
    theirs, state = {}, None
    for i in range(LENGTH):
        # Its position is the length of the placeholder less one, whatever the embeddings' length.
        step, _ = torchscale_retnet(
            torch.zeros(2, i + 1), incremental_state=theirs, features_only=True, token_embeddings=x[:, i : i + 1]
        )
        output = model.extend(x[:, i : i + 1], state)
        state = output.state
        torch.testing.assert_close(output.hidden, step, atol=1e-5, rtol=1e-5)


def naive(q, k, v, heads, causal):
    """The paper's sum, position by position, in double precision; q, k (L, H, Dk) not yet turned, v (L, H, Dv)."""
    length, width, out = len(q), q.shape[-1], torch.zeros_like(v, dtype=torch.float64)
    rates = 10000 ** -torch.linspace(0, 1, width // 2, dtype=torch.float64)
    for h in range(heads):
        gamma = 1 - 2.0 ** (-5 - h)
        for n in range(length):
            seen = range(n + 1) if causal else range(length)
            total = sum(gamma ** abs(n - m) for m in seen)
            for m in seen:
                cos, sin = (rates * (n - m)).cos(), (rates * (n - m)).sin()
                (q0, q1), (k0, k1) = q[n, h].double().view(-1, 2).T, k[m, h].double().view(-1, 2).T
                score = ((q0 * k0 + q1 * k1) * cos - (q1 * k0 - q0 * k1) * sin).sum() / width**0.5
                out[n, h] += gamma ** abs(n - m) * score * v[m, h].double() / total**0.5
    return out


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("chunk", [None, 3])
def test_retention_is_the_papers_sum(causal, chunk):
    torch.manual_seed(0)
    length, heads, width, lengths = 11, 3, 8, torch.tensor([11, 6])
    q, k, v = (torch.randn(2, length, heads, width) for _ in range(3))
    context = FullRetention(lengths, length, heads, width, causal=causal, chunk=chunk)
    qk = torch.stack([q, k], 2).flatten(2)
    got = context.retain(0, *rotate(qk, context.rotation), v.transpose(1, 2)).transpose(1, 2).double()
    for row, n in enumerate(lengths):
        wanted = naive(q[row, :n], k[row, :n], v[row, :n], heads, causal)
        torch.testing.assert_close(got[row, :n], wanted, atol=1e-5, rtol=1e-5)


def looped(q, k, v, log_decay, lengths, causal, memory):
    """Retention one position after another, in double precision: outputs (B, H, n, Dv) and the memory at each row's
    end. Both ways: a loop forward, and a loop backward that leaves out the position itself.
    """
    real = (torch.arange(q.shape[2]) < lengths[:, None])[:, None, :, None]
    q, k, v = q.double(), k.double() * real, v.double()
    fade = log_decay.double().exp()[:, None, None]

    def run(positions, memory, *, with_itself):
        outputs = {}
        for i in positions:
            after = memory * fade + k[:, :, i, :, None] * v[:, :, i, None]
            outputs[i] = (q[:, :, i, None] @ (after if with_itself else memory * fade))[:, :, 0]
            memory = torch.where((i < lengths)[:, None, None, None], after, memory)
        return torch.stack([outputs[i] for i in sorted(outputs)], 2), memory

    outputs, memory = run(range(q.shape[2]), memory.double(), with_itself=True)
    if not causal:
        outputs = outputs + run(reversed(range(q.shape[2])), memory * 0, with_itself=False)[0]
    return outputs, memory


def close_to_the_largest(found, wanted):
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_chunks_give_the_sum_its_gradients_and_the_memory_of_the_real_length(seed, causal):
    """Any length, chunk and row lengths, after nothing and, causally, after a memory."""
    torch.manual_seed(seed)
    n, chunk = (int(torch.randint(1, high, ())) for high in (90, 40))
    lengths, log_decay = torch.randint(1, n + 1, (3,)), log_decays(4, torch.device("cpu"))
    given = [torch.randn(3, 4, *shape, requires_grad=True) for shape in [(n, 8), (n, 8), (n, 6), (8, 6)]]
    q, k, v, memory = given
    real = (torch.arange(n) < lengths[:, None])[:, None, :, None]
    if causal:
        found = Chunks(n, chunk, log_decay, causal=True).mix(q, k, v, memory)
        left = remember(memory, k, v, lengths, log_decay)
    else:
        memory, found = memory * 0, Chunks(n, chunk, log_decay, causal=False).mix(q, k, v * real)
        left = remember(memory, k, v, lengths, log_decay)
    wanted, wanted_left = looped(q, k, v, log_decay, lengths, causal, memory)
    close_to_the_largest(found * real, wanted * real)
    close_to_the_largest(left, wanted_left)
    gradients = [
        torch.autograd.grad((out * real).square().sum() + end.square().sum(), given[: 4 if causal else 3])
        for out, end in ((found, left), (wanted, wanted_left))
    ]
    for got, expected in zip(*gradients, strict=True):
        close_to_the_largest(got, expected)


@pytest.mark.parametrize("causal", [True, False])
def test_a_past_too_far_for_single_precision_is_nothing(causal):
    """γ of head 0 to the power of 5,000 is 1e-69: a division by it would be one by 0."""
    torch.manual_seed(0)
    n, log_decay = 5000, log_decays(2, torch.device("cpu"))
    q, k, v = (torch.randn(1, 2, n, 4, requires_grad=True) for _ in range(3))
    found = Chunks(n, 96, log_decay, causal=causal).mix(q, k, v)
    with torch.no_grad():
        wanted, _ = looped(q, k, v, log_decay, torch.tensor([n]), causal, torch.zeros(1, 2, 4, 4))
    close_to_the_largest(found, wanted)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.square().sum(), [q, k, v]))


@pytest.mark.parametrize("causal", [True, False])
def test_under_bf16_autocast_chunks_are_as_exact_as_the_whole(causal):
    torch.manual_seed(0)
    n, log_decay = 400, log_decays(8, torch.device("cpu"))
    q, k, v = torch.randn(3, 1, 8, n, 16)
    wanted, _ = looped(q, k, v, log_decay, torch.tensor([n]), causal, torch.zeros(1, 8, 16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        errors = [
            (Chunks(n, chunk, log_decay, causal=causal).mix(q, k, v) - wanted).square().mean().sqrt() / wanted.std()
            for chunk in (None, 200, 64, 16)
        ]
    assert all(1e-4 < error < 1.25 * errors[0] + 1e-3 for error in errors)


def kept_for_backward(model, length, causal):
    """Bytes of the tensors that a training pass keeps until its backward."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(inputs(1, length), torch.tensor([length]), causal=causal)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("causal", [True, False])
def test_training_in_chunks_keeps_memory_in_proportion_to_the_length(causal):
    chunked, whole = (RetNet(**SHAPE, dropout=0.0, chunk=chunk).train() for chunk in (32, None))
    growth = [
        kept_for_backward(model, 2048, causal) / kept_for_backward(model, 512, causal) for model in (chunked, whole)
    ]
    assert growth[0] < 4.1 and growth[1] > 10


@torch.no_grad()
def test_a_long_prefill_leaves_a_memory_of_fixed_size_that_goes_back_a_little(monkeypatch):
    monkeypatch.setattr(module, "UNDOABLE", 8)
    x, model, lengths = inputs(3, 40), ours(), torch.tensor([40, 21, 5])
    sizes = [model.extend(x[:, :n]).state.bytes for n in (9, 40)]
    assert sizes[0] == sizes[1]
    for back in (0, 3, 5, torch.tensor([8, 1, 5])):
        state = model.extend(x, model.extend(x[:, :1]).state, lengths).state.truncate(back)
        step = model.extend(x[:, :1], state).hidden[:, 0]
        for row, n in enumerate(lengths - back):
            alone = torch.cat([x[row, :1], x[row, :n], x[row, :1]])[None]
            torch.testing.assert_close(step[row], full(model, alone)[0, -1], atol=1e-4, rtol=1e-4)
    for back, known in [(torch.tensor([9, 0, 0]), 8), (torch.tensor([0, 0, 6]), 5)]:
        with pytest.raises(VocolabError, match=f"knows its last {known}"):
            model.extend(x, None, lengths).state.truncate(back)


def test_a_prefill_goes_in_chunks_whatever_they_are():
    x, whole = inputs(2, 50), ours()
    model = RetNet(**SHAPE, dropout=0.0, value=VALUE, chunk=16).eval()
    model.load_state_dict(whole.state_dict())
    output = model.extend(x[:, :45], None, torch.tensor([45, 33]))
    torch.testing.assert_close(output.hidden[0], full(whole, x[:1, :45])[0], atol=1e-4, rtol=1e-4)
    step = model.extend(torch.stack([x[0, 45:46], x[1, 33:34]]), output.state)
    torch.testing.assert_close(step.hidden[1, 0], full(whole, x[1:, :34])[0, -1], atol=1e-4, rtol=1e-4)


def test_decays_and_divisors_keep_their_precision_far_out():
    """Head 15 has γ = 1 − 2⁻²⁰, which is 1 in half precision, and a sum close to its number of positions."""
    log_decay = log_decays(16, torch.device("cpu"))
    gamma = 1 - 2.0 ** (-5 - torch.arange(16, dtype=torch.float64))
    torch.testing.assert_close(log_decay.double(), gamma.log(), rtol=1e-6, atol=0)
    sums = module.decay_sums(torch.tensor([[1, 2, 5000]]), log_decay)[0].double()
    wanted = torch.stack([(1 - gamma**n) / (1 - gamma) for n in (1, 2, 5000)])
    torch.testing.assert_close(sums, wanted, rtol=1e-5, atol=0)


def test_positions_turn_by_torchscales_angles():
    rotation = rotations(torch.tensor([[3]]), torch.ones(1, 1, 1), 8)[0, 0]  # (2, 1, 4)
    torch.testing.assert_close(rotation[1, 0].angle(), 3 * 10000 ** -torch.tensor([0, 1 / 3, 2 / 3, 1]))
    torch.testing.assert_close(rotation[0].abs(), torch.full((1, 4), 8**-0.5))  # q's scale rides along


@torch.no_grad()
def test_memory_stays_flat():
    model, state, sizes = ours(), None, {}
    x = inputs(1, 1)
    for i in range(1, 301):
        state = model.extend(x, state).state
        sizes[i] = state.bytes
    heads, width, value = 2, 8, 16
    assert sizes[10] == sizes[300] == 2 * SHAPE["layers"] * heads * width * value * 4 + 16  # twice: before and after


def test_a_state_keeps_full_precision_in_a_half_precision_model():
    model = ours().to(torch.bfloat16)
    state = model.extend(inputs().to(torch.bfloat16)).state
    assert state.memory.dtype == torch.float32


def test_a_row_without_new_positions_keeps_its_memory():
    model = ours()
    state = model.extend(inputs()).state
    before = state.memory.clone()
    state = model.extend(inputs(2, 1), state, torch.tensor([1, 0])).state
    assert torch.equal(state.memory[:, 1], before[:, 1]) and not torch.equal(state.memory[:, 0], before[:, 0])
    assert state.position.tolist() == [LENGTH + 1, LENGTH]


def test_experts_stand_in_every_layer():
    model = RetNet(**SHAPE, experts=4)
    assert [len(block.ffn.experts) for block in model.blocks] == [4, 4]


@pytest.mark.parametrize("chunk", [0, -4])
def test_a_chunk_of_nothing_is_one_clear_line(chunk):
    with pytest.raises(UsageError, match=f"chunk {chunk}"):
        RetNet(**SHAPE, chunk=chunk)


@pytest.mark.parametrize("wrong", [dict(dim=20, heads=4), dict(dim=16, heads=2, value=15)])
def test_widths_that_do_not_divide_are_one_clear_line(wrong):
    with pytest.raises(UsageError, match=f"heads {wrong['heads']}"):
        RetNet(**{**SHAPE, **wrong})


@pytest.mark.slow
def test_it_trains_to_repeat_what_was_said_long_ago():
    """A copy over 12 positions: the memory carries content, not only a decaying mean."""
    torch.manual_seed(0)
    table, model = nn.Embedding(8, 32), RetNet(dim=32, heads=2, layers=2, ffn=64, dropout=0.0)
    head = nn.Linear(32, 8)
    optimizer = torch.optim.AdamW([*table.parameters(), *model.parameters(), *head.parameters()], 4e-3)
    for _ in range(250):
        first = torch.randint(0, 8, (16, 12))
        tokens = torch.cat([first, first], 1)
        logits = head(model(table(tokens[:, :-1]), torch.full((16,), 23), causal=True).hidden)
        loss = nn.functional.cross_entropy(logits[:, 11:].flatten(0, 1), tokens[:, 12:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7  # ln 8 = 2.08 by chance
