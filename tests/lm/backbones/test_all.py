"""What every backbone promises (backbones/base.py), held for each of them; tests/contract.py says how for your own."""

import inspect

import pytest
import torch
from torch import nn

from tests.contract import own_classes
from vocolab.errors import VocolabError
from vocolab.lm import backbones, fast
from vocolab.lm.backbones import Backbone
from vocolab.parts import build, describe

DIM = 32
SMALL = dict(dim=DIM, heads=4, layers=3, ffn=48, dropout=0.1)
CASES = [
    ("Transformer", {}),
    ("Transformer", {"adaptive_levels": 8}),
    ("Transformer", {"linear": "BitLinear"}),
    ("RetNet", {}),
    ("RetNet", {"chunk": 4, "value": 64}),
    ("RetNet", {"experts": 4}),
    ("RetNet", {"linear": "BitLinear"}),
    ("Llama", {}),
    ("Mixtral", {}),
    ("BitNet", {}),
]
TOLERANCE = dict(atol=1e-5, rtol=1e-5)


def case_name(case):
    name = case[0] if isinstance(case[0], str) else case[0].__name__
    return "-".join([name, *(f"{key}={value}" for key, value in case[1].items())])


def make(case, **more) -> Backbone:
    """A small backbone whose weights are large enough for every layer to matter."""
    torch.manual_seed(1)
    cls = getattr(backbones, case[0]) if isinstance(case[0], str) else case[0]
    accepted = inspect.signature(cls).parameters
    if lacking := [name for name in more if name not in accepted]:
        pytest.skip(f"it has no {lacking[0]}")
    sizes = {name: value for name, value in SMALL.items() if name in accepted}
    model = cls(**{**sizes, **case[1], **more})
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.15)
    return model.eval()


def pytest_generate_tests(metafunc):
    """`CASES`, or the backbones that --part names; of their arguments, `dim` is the one here."""
    if "case" in metafunc.fixturenames:
        given = metafunc.config.getoption("--part")
        own = [(cls, {**part.get("init_args", {}), "dim": DIM}) for cls, part in own_classes(given, Backbone)]
        metafunc.parametrize("case", own if given else CASES, ids=case_name)


def rounds(case):
    return case[0] == "BitNet" or "linear" in case[1]


@pytest.fixture
def backbone(case):
    """As it decodes. One that rounds must be prepared for that: see `BitNet`."""
    return fast.prepare(make(case)) if rounds(case) else make(case)


def inputs(batch, length, seed=0):
    return torch.randn(batch, length, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def full(backbone, x, causal=True):
    with torch.no_grad():
        return backbone(x, torch.full((len(x),), x.shape[1]), causal=causal).hidden


def ragged(rows):
    """Rows (n, D) as one right-padded batch, padding not zero, and their lengths."""
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=3.0)
    return padded, torch.tensor([len(row) for row in rows])


def decode(backbone, x, prefill):
    state, hidden = None, []
    if prefill:
        output = backbone.extend(x[:, :prefill])
        state, hidden = output.state, [output.hidden]
    for i in range(prefill, x.shape[1]):
        output = backbone.extend(x[:, i : i + 1], state)
        state = output.state
        hidden.append(output.hidden)
    return torch.cat(hidden, 1)


@pytest.mark.parametrize("prefill", [0, 1, 9])
def test_decoding_step_by_step_equals_the_whole_sequence(backbone, prefill):
    x = inputs(2, 21)
    with torch.inference_mode():
        torch.testing.assert_close(decode(backbone, x, prefill), full(backbone, x), **TOLERANCE)


def test_decoding_on_where_memory_must_grow_equals_the_whole_sequence(backbone):
    x = inputs(1, 260)
    torch.testing.assert_close(decode(backbone, x, 250), full(backbone, x), **TOLERANCE)


def test_several_new_positions_at_once_equal_steps(backbone):
    x, state, hidden = inputs(2, 20), None, []
    for a, b in [(0, 6), (6, 9), (9, 10), (10, 17), (17, 20)]:
        output = backbone.extend(x[:, a:b], state)
        state = output.state
        hidden.append(output.hidden)
    torch.testing.assert_close(torch.cat(hidden, 1), full(backbone, x), **TOLERANCE)


@pytest.mark.parametrize("causal", [True, False])
def test_rows_of_unequal_length_equal_each_row_alone(backbone, causal):
    rows = [inputs(1, n, n)[0] for n in (7, 15, 1)]
    x, lengths = ragged(rows)
    with torch.no_grad():
        hidden = backbone(x, lengths, causal=causal).hidden
    for row, got in zip(rows, hidden, strict=True):
        torch.testing.assert_close(got[: len(row)], full(backbone, row[None], causal)[0], **TOLERANCE)


def test_decoding_rows_of_unequal_length_equals_each_row_alone(backbone):
    """A prefill, steps and further ragged extensions, one of nothing."""
    counts = [[5, 2, 9], [1, 1, 1], [1, 1, 1], [3, 1, 0], [1, 1, 1], [1, 0, 1], [2, 4, 1], [1, 1, 1]]
    rows = [inputs(1, sum(column), i)[0] for i, column in enumerate(zip(*counts, strict=True))]
    alone = [full(backbone, row[None])[0] for row in rows]
    done, state = [0, 0, 0], None
    for count in counts:
        x, lengths = ragged([row[d : d + c] for row, d, c in zip(rows, done, count, strict=True)])
        if max(count) > 1:  # and no row need fill the batch
            x = nn.functional.pad(x, (0, 0, 0, 2), value=3.0)
        output = backbone.extend(x, state, None if count == [1, 1, 1] else lengths)
        state = output.state
        for i, (d, c) in enumerate(zip(done, count, strict=True)):
            torch.testing.assert_close(output.hidden[i, :c], alone[i][d : d + c], **TOLERANCE)
        done = [d + c for d, c in zip(done, count, strict=True)]


def test_later_positions_never_change_earlier_ones_when_causal_and_do_when_not(backbone):
    x = inputs(2, 12)
    changed = x.clone()
    changed[:, 8:] += inputs(2, 4, 5)  # not a constant, which a norm would take away
    torch.testing.assert_close(full(backbone, changed)[:, :8], full(backbone, x)[:, :8], **TOLERANCE)
    both = full(backbone, changed, causal=False)[:, :8] - full(backbone, x, causal=False)[:, :8]
    assert (both.abs().amax(-1) > 1e-4).all()  # each of the positions before


def test_no_weight_sees_the_padding(case):
    backbone = make(case)
    x, lengths = ragged([inputs(1, n, n)[0] for n in (9, 4)])
    gradients = []
    for filling in (0.0, 5.0):
        x[1, 4:] = filling
        backbone.zero_grad()
        output = backbone(x, lengths, causal=False)
        (output.hidden[0, :9].pow(3).sum() + output.hidden[1, :4].pow(3).sum()).backward()
        gradients.append([p.grad.clone() for p in backbone.parameters() if p.grad is not None])
    assert all(g.isfinite().all() for g in gradients[0]) and max(g.abs().max() for g in gradients[0]) > 1
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_selected_rows_go_on_as_their_own(backbone):
    rows = [inputs(1, n, n)[0] for n in (8, 5, 12, 6)]
    x, lengths = ragged([row[:-3] for row in rows])
    output = backbone.extend(x, None, lengths)
    state = output.state.select(torch.tensor([3, 1, 1]))
    kept = [rows[3], rows[1], rows[1]]
    for step in (-3, -2, -1):
        output = backbone.extend(torch.stack([row[step] for row in kept])[:, None], state)
        state = output.state
        for row, got in zip(kept, output.hidden[:, 0], strict=True):
            torch.testing.assert_close(got, full(backbone, row[None])[0, step], **TOLERANCE)


def test_a_rejected_draft_leaves_no_trace(backbone):
    rows = [inputs(1, n, n)[0] for n in (9, 5)]
    x, lengths = ragged([row[:-2] for row in rows])
    state = backbone.extend(x, None, lengths).state
    draft = torch.stack([torch.cat([row[-2:-1], inputs(1, 3, 99)[0]]) for row in rows])  # one right, three wrong
    state = backbone.extend(draft, state).state
    state = state.truncate(1)
    state = state.truncate(2)  # in two goes
    output = backbone.extend(torch.stack([row[-1:] for row in rows]), state)
    for row, got in zip(rows, output.hidden[:, 0], strict=True):
        torch.testing.assert_close(got, full(backbone, row[None])[0, -1], **TOLERANCE)
    state = output.state.truncate(1)  # a step too, and again
    output = backbone.extend(torch.stack([row[-1:] for row in rows]), state)
    torch.testing.assert_close(output.hidden[0, 0], full(backbone, rows[0][None])[0, -1], **TOLERANCE)


def test_a_draft_is_rejected_after_other_rows_have_gone(backbone):
    x = inputs(3, 6)
    state = backbone.extend(torch.cat([x[:, :5], inputs(3, 2, 9)], 1)).state
    state = state.select(torch.tensor([2, 0])).truncate(2)
    got = backbone.extend(x[[2, 0], 5:], state).hidden[:, 0]
    torch.testing.assert_close(got, full(backbone, x[[2, 0]])[:, -1], **TOLERANCE)


def test_rows_reject_unequal_numbers_of_drafts(backbone):
    rows = [inputs(1, n, n)[0] for n in (9, 5, 7)]
    x, lengths = ragged([row[:-4] for row in rows])
    state = backbone.extend(x, None, lengths).state
    right = torch.tensor([1, 3, 0])
    drafts = [torch.cat([row[-4:][:n], inputs(1, 3 - n, 99)[0]]) for row, n in zip(rows, right, strict=True)]
    state = backbone.extend(torch.stack(drafts), state).state.truncate(3 - right)
    output = backbone.extend(torch.stack([row[-4 + n][None] for row, n in zip(rows, right, strict=True)]), state)
    for row, n, got in zip(rows, right, output.hidden[:, 0], strict=True):
        torch.testing.assert_close(got, full(backbone, row[None])[0, -4 + n], **TOLERANCE)
    state = output.state.truncate(torch.tensor([1, 0, 1]))  # of a step too
    again = backbone.extend(torch.stack([rows[0][[-3]], inputs(1, 1)[0], rows[2][[-4]]]), state)
    torch.testing.assert_close(again.hidden[[0, 2]], output.hidden[[0, 2]], **TOLERANCE)
    with pytest.raises(VocolabError, match="cannot go back 99 positions"):
        output.state.truncate(torch.tensor([0, 99, 0]))


def test_what_was_never_seen_cannot_be_taken_back(backbone):
    state = backbone.extend(inputs(2, 6), None, torch.tensor([6, 3])).state
    with pytest.raises(VocolabError, match="cannot go back 4 positions"):
        state.truncate(4)


def test_a_batch_costs_no_row_its_result(backbone):
    """Mixtures of experts too: nothing is dropped for the sake of a batch mate."""
    x = torch.cat([inputs(1, 6, 1)] * 7 + [inputs(1, 6, 2)])
    torch.testing.assert_close(full(backbone, x)[-1:], full(backbone, x[-1:]), **TOLERANCE)


def test_dropout_is_for_training_alone(case):
    backbone = make(case, dropout=0.5)
    x = inputs(1, 8)
    torch.testing.assert_close(full(backbone, x), full(backbone, x), atol=0, rtol=0)
    backbone.train()
    assert not torch.allclose(full(backbone, x), full(backbone, x))


@pytest.mark.parametrize("name", ["Transformer", "Llama", "Mixtral", "BitNet"])
def test_attention_dropout_is_for_training_alone_and_off_by_default(name):
    x, off = inputs(1, 8), make((name, {}), dropout=0.0)
    torch.testing.assert_close(full(off.train(), x), full(off.eval(), x), atol=1e-5, rtol=1e-5)
    on = make((name, {"attention_dropout": 0.5}), dropout=0.0)
    torch.testing.assert_close(full(on, x), full(off, x))
    for causal in (True, False):
        assert not torch.allclose(full(on.train(), x, causal), full(on, x, causal))


@pytest.mark.parametrize("causal", [True, False])
def test_gradient_checkpointing_changes_no_gradient(case, causal):
    x, lengths, results = inputs(2, 10), torch.tensor([10, 7]), []
    for checkpointing in (False, True):
        backbone = make(case, gradient_checkpointing=checkpointing).train()
        torch.manual_seed(3)  # the dropout of both
        output = backbone(x, lengths, causal=causal)
        loss = output.hidden[0].pow(3).sum() + output.hidden[1, :7].pow(3).sum()
        (loss + (0 if output.aux_loss is None else output.aux_loss)).backward()
        results.append({name: p.grad for name, p in backbone.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_every_weight_learns(case):
    backbone = make(case).train()
    level = torch.arange(8) % 8
    output = backbone(inputs(8, 16), torch.full((8,), 16), causal=True, level=level)
    loss = output.hidden.pow(3).sum() + (0 if output.aux_loss is None else output.aux_loss)
    loss.backward()
    still = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_a_description_rebuilds_it(case):
    backbone = make(case)
    description = describe(backbone)
    assert description["init_args"]["dim"] == DIM
    again = build(description, Backbone).eval()
    again.load_state_dict(backbone.state_dict())
    x = inputs(1, 5)
    torch.testing.assert_close(full(again, x), full(backbone, x), atol=0, rtol=0)
    assert describe(again) == description


def test_only_mixtures_have_a_balance_loss(case):
    backbone = make(case)
    loss = backbone(inputs(2, 9), torch.tensor([9, 5]), causal=True).aux_loss
    if "Mixtral" in case or "experts" in case[1]:
        assert 2 - 1e-4 <= loss.item() <= 8  # top-2: least where all get alike
    else:
        assert loss is None


def test_half_precision_has_no_nan(case):
    backbone = make(case).to(torch.bfloat16)
    x = inputs(2, 20).to(torch.bfloat16)
    hidden = full(backbone, x)
    assert hidden.dtype == torch.bfloat16 and hidden.isfinite().all()
    output = backbone.extend(x[:, :15], None, torch.tensor([15, 9]))
    output = backbone.extend(x[:, 15:16], output.state)
    assert output.hidden.dtype == torch.bfloat16 and output.hidden.isfinite().all()
    torch.testing.assert_close(output.hidden[0, 0], hidden[0, 15], atol=0.15, rtol=0.1)


def said(backbone, device="cpu"):
    """Whole sequences causally and both ways, then a ragged prefill and two steps: the real positions of all."""
    x, lengths = (part.to(device) for part in ragged([inputs(1, n, n)[0] for n in (7, 15, 2)]))
    with torch.no_grad():
        outputs = [backbone(x, lengths, causal=causal).hidden for causal in (True, False)]
        output = backbone.extend(x, None, lengths)
        outputs.append(output.hidden)
        parts = [hidden[b, :length] for hidden in outputs for b, length in enumerate(lengths)]
        for step in range(2):
            output = backbone.extend(inputs(3, 1, 50 + step).to(device), output.state)
            parts.append(output.hidden.flatten(0, 1))
    return torch.cat(parts)


def test_positions_do_not_follow_the_default_dtype(backbone):
    """Lightning sets it under `precision: bf16-true`: positions in bf16 are right up to 256 and no further."""
    expected = said(backbone)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = said(backbone)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.gpu
def test_on_a_gpu(case):
    difference = (said(make(case).to("cuda"), "cuda").cpu() - said(make(case))).abs()
    if rounds(case):  # what rounds makes of 1e-7 now and then 1e-2
        assert difference.mean() < 0.01
    else:
        assert difference.max() < 1e-3
