"""The sliding window: what is seen, and that decoding in constant memory gives what training computes, for every
backbone that attends.
"""

import pytest
import torch
from torch import nn

from tests.lm.backbones.test_all import TOLERANCE, inputs, make, ragged, rounds
from vocolab.errors import VocolabError
from vocolab.lm import fast
from vocolab.lm.backbones import Window
from vocolab.lm.backbones import window as module
from vocolab.lm.backbones.layers import repeating
from vocolab.lm.backbones.window import WindowAttention, WindowCache, visible

CASES = [
    ("Transformer", {}),
    ("Transformer", {"adaptive_levels": 8}),
    ("Transformer", {"linear": "BitLinear"}),
    ("Llama", {}),
    ("Mixtral", {}),
    ("BitNet", {}),
]
FRAMES = 5


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *case[1]]))
def backbone(request):
    return fast.prepare(make(request.param)) if rounds(request.param) else make(request.param)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So small that a few dozen positions fill several blocks, and a cache drops frames again and again."""
    monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(module, "SLACK", 3)
    monkeypatch.setattr(module, "FIRST_CAPACITY", 2)


def window(*prefix, frames=FRAMES):
    return Window(frames, torch.tensor(prefix), 2 * frames)


def whole(backbone, x, prefix, frames=FRAMES):
    """Hidden states of one row (1, L, D)."""
    with torch.no_grad():
        return backbone(x, torch.tensor([x.shape[1]]), causal=True, window=window(prefix, frames=frames)).hidden


def test_the_definition():
    """Three positions of prefix, two frames seen."""
    seen = visible(window(3, frames=2), torch.arange(7), torch.arange(7))[0, 0].int()
    assert seen.tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1, 1, 0],
        [1, 1, 1, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize("name", ["Transformer", "Llama", "Mixtral"])
def test_a_layer_sees_what_the_definition_says_and_nothing_else(name):
    model, x, of = make((name, {}), layers=1), inputs(1, 19), window(4)
    wanted, got = whole(model, x, 4), visible(of, torch.arange(19), torch.arange(19))[0, 0]
    for position in range(19):
        changed = x.clone()
        changed[:, position] += inputs(1, 1, 5)[0]
        differs = (whole(model, changed, 4) - wanted).abs().amax(-1)[0] > 1e-6
        assert torch.equal(differs, got[:, position]), position


@pytest.mark.parametrize("prefix", [(6, 6, 6), (9, 2, 5)])
@pytest.mark.parametrize("frames", [1, 4, 11, 60])
def test_blocks_of_whole_sequences_are_attention_with_the_mask(prefix, frames):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 3, 2, 43, 4)
    of = window(*prefix, frames=frames)
    got = WindowAttention(of, 43).attend(0, q, k, v)
    mask = visible(of, torch.arange(43), torch.arange(43))
    torch.testing.assert_close(got, nn.functional.scaled_dot_product_attention(q, k, v, mask), atol=1e-6, rtol=0)


def test_decoding_past_the_window_equals_the_whole_sequence(backbone):
    """Rows whose prefixes are of unequal length, one position at a time, to nine times the window."""
    prefix, more = [7, 3, 4], 9 * FRAMES
    rows = [inputs(1, n + more, n)[0] for n in prefix]
    wanted = [whole(backbone, row[None], n)[0] for row, n in zip(rows, prefix, strict=True)]
    x, lengths = ragged(rows)
    with torch.no_grad():
        together = backbone(x, lengths, causal=True, window=window(*prefix)).hidden
    for row, got in zip(wanted, together, strict=True):
        torch.testing.assert_close(got[: len(row)], row, **TOLERANCE)
    x, lengths = ragged([row[:n] for row, n in zip(rows, prefix, strict=True)])
    output = backbone.extend(x, None, lengths, window(*prefix))
    for i, n in enumerate(prefix):
        torch.testing.assert_close(output.hidden[i, :n], wanted[i][:n], **TOLERANCE)
    for step in range(more):
        new = torch.stack([row[n + step] for row, n in zip(rows, prefix, strict=True)])[:, None]
        output = backbone.extend(new, output.state)
        for i, n in enumerate(prefix):
            torch.testing.assert_close(output.hidden[i, 0], wanted[i][n + step], **TOLERANCE)
    assert output.state.capacity <= 7 + FRAMES + module.SLACK + 1


def test_ragged_extensions_past_the_window_equal_each_row_alone(backbone):
    """A beginning longer than the prefix, several positions at once, rows that get more than others or nothing."""
    prefix = [4, 2, 5]
    counts = [[15, 2, 6], [3, 1, 0], [1, 1, 1], [2, 4, 1], [1, 1, 1], [1, 0, 1], [7, 1, 6], [1, 1, 1], [1, 9, 2]] * 2
    rows = [inputs(1, sum(column), i)[0] for i, column in enumerate(zip(*counts, strict=True))]
    alone = [whole(backbone, row[None], n)[0] for row, n in zip(rows, prefix, strict=True)]
    done, state = [0, 0, 0], None
    for count in counts:
        x, lengths = ragged([row[d : d + c] for row, d, c in zip(rows, done, count, strict=True)])
        output = backbone.extend(x, state, None if count == [1, 1, 1] else lengths, window(*prefix))
        state = output.state
        for i, (d, c) in enumerate(zip(done, count, strict=True)):
            torch.testing.assert_close(output.hidden[i, :c], alone[i][d : d + c], **TOLERANCE)
        done = [d + c for d, c in zip(done, count, strict=True)]


def test_rows_are_selected_and_drafts_rejected_past_the_window(backbone):
    """As beams and drafts do it: rows leave, a row is taken twice, and of each draft of four positions three go."""
    prefix, kept = [6, 3, 5], [2, 1, 2]
    rows = [inputs(1, n + 30, n)[0] for n in prefix]
    wanted = [whole(backbone, row[None], n)[0] for row, n in zip(rows, prefix, strict=True)]
    x, lengths = ragged([row[: n + 9] for row, n in zip(rows, prefix, strict=True)])
    state = backbone.extend(x, None, lengths, window(*prefix)).state.select(torch.tensor(kept))
    for step in range(9, 24):
        right = torch.stack([rows[i][prefix[i] + step] for i in kept])[:, None]
        output = backbone.extend(torch.cat([right, inputs(3, 3, step)], 1), state)
        state = output.state.truncate(1).truncate(2)
        for at, i in enumerate(kept):
            torch.testing.assert_close(output.hidden[at, 0], wanted[i][prefix[i] + step], **TOLERANCE)
    state = state.select(torch.tensor([1]))  # one row alone goes on
    assert state.even and state.fixed == 3
    for step in range(24, 30):
        output = backbone.extend(rows[1][None, None, 3 + step], state)
        state = output.state
        torch.testing.assert_close(output.hidden[0, 0], wanted[1][3 + step], **TOLERANCE)


def test_rows_reject_unequal_numbers_of_drafts_past_the_window(backbone):
    """Each row takes 1 to 4 of four new positions, as it happens: they drift apart by more than the window."""
    prefix, count = [6, 3], [0, 0]
    rows = [inputs(1, n + 60, n)[0] for n in prefix]
    wanted = [whole(backbone, row[None], n)[0] for row, n in zip(rows, prefix, strict=True)]
    x, lengths = ragged([row[:n] for row, n in zip(rows, prefix, strict=True)])
    state = backbone.extend(x, None, lengths, window(*prefix)).state
    for step in range(15):
        right = [1 + step % 4, 1 + (step == 6)]
        drafts = inputs(2, 4, step)
        for i, n in enumerate(right):
            drafts[i, :n] = rows[i][prefix[i] + count[i] :][:n]
        output = backbone.extend(drafts, state)
        state = output.state.truncate(4 - torch.tensor(right))
        for i, n in enumerate(right):
            at = prefix[i] + count[i]
            torch.testing.assert_close(output.hidden[i, :n], wanted[i][at : at + n], **TOLERANCE)
            count[i] += n
    assert count[0] - count[1] > 2 * FRAMES and state.length <= 6 + FRAMES + module.SLACK + 4


def test_what_was_dropped_cannot_be_taken_back(backbone):
    prefix = torch.tensor([4, 2])
    state = backbone.extend(inputs(2, 6), None, torch.tensor([6, 3]), window(4, 2)).state
    with pytest.raises(VocolabError, match="cannot go back 2 positions.*knows its last 1"):
        state.truncate(2)  # into the prefix of the second row
    for i in range(20):
        state = backbone.extend(inputs(2, 1, i), state).state
    assert state.seen.tolist() == [26, 23] and torch.equal(state.window.prefix, prefix)
    with pytest.raises(VocolabError, match="cannot go back 9 positions"):
        state.truncate(9)


@pytest.mark.parametrize("name", ["Transformer", "Llama", "Mixtral"])
def test_far_out_all_is_as_it_was_a_period_before(name):
    """The same frames said over and over give the same numbers, however far: no position is new."""
    model, frames = make((name, {})), 8
    said = inputs(1, 2 * frames)  # a period of them
    x = torch.cat([inputs(1, 5, 3), *[said] * 5], 1)
    hidden = whole(model, x, 5, frames)
    settled = 5 + 3 * (frames - 1)  # what is before it is out of sight of all three layers
    torch.testing.assert_close(hidden[:, settled + 2 * frames :], hidden[:, settled : -2 * frames], **TOLERANCE)
    assert not torch.allclose(hidden[:, settled + frames :], hidden[:, settled:-frames], atol=1e-2)


def test_a_phase_moves_the_response_alone():
    model, x, of = make(("Llama", {})), inputs(2, 20), window(4, 6)
    with torch.no_grad():
        plain, moved, round_ = (
            model(x, torch.tensor([20, 20]), causal=True, window=Window(of.frames, of.prefix, of.period, phase)).hidden
            for phase in (None, torch.tensor([3, 0]), torch.tensor([of.period, 2 * of.period]))
        )
    torch.testing.assert_close(round_, plain, **TOLERANCE)
    torch.testing.assert_close(moved[1], plain[1], **TOLERANCE)
    torch.testing.assert_close(moved[0, :4], plain[0, :4], **TOLERANCE)
    assert ((moved[0, 4:] - plain[0, 4:]).abs().amax(-1) > 1e-4).all()


def test_waves_repeat_and_stay_what_they_were():
    rates = 10000.0 ** -(torch.arange(32) / 32)
    turns = repeating(rates, 750) * 750 / (2 * torch.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-3, rtol=0)
    assert (repeating(rates, 750) - rates).abs().max() <= torch.pi / 750 + 1e-6 and turns[-1] == 0
    assert repeating(rates, None) is rates


def test_a_window_that_nothing_reaches_is_full_attention():
    """But for the positions, which repeat: a transformer's do not matter once their scale is 0."""
    model, x = make(("Transformer", {})), inputs(1, 14)
    model.position_scale.data.zero_()
    with torch.no_grad():
        full = model(x, torch.tensor([14]), causal=True).hidden
    torch.testing.assert_close(whole(model, x, 5, frames=9), full, **TOLERANCE)
    assert not torch.allclose(whole(model, x, 5, frames=8)[:, -1], full[:, -1], atol=1e-4)


def test_memory_is_constant(monkeypatch):
    monkeypatch.setattr(module, "SLACK", 128)
    model, x, sizes = make(("Llama", {})), inputs(2, 1), []
    state = model.extend(inputs(2, 40), None, None, window(40, 40, frames=50)).state
    for _ in range(700):
        state = model.extend(x, state).state
        sizes.append(state.bytes)
    slots = 40 + 50 + 128 + 1
    assert sizes[-1] == sizes[200] <= 3 * 2 * 2 * 32 * 4 * slots  # layers, keys and values, rows, width, fp32


def test_training_in_a_window_reaches_every_weight_and_survives_an_empty_row():
    model = make(("Llama", {}), gradient_checkpointing=True, attention_dropout=0.1).train()
    x = inputs(2, 30)
    output = model(x, torch.tensor([30, 0]), causal=True, window=window(4, 0))
    output.hidden[0].pow(3).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_half_precision_keeps_its_type():
    model = make(("Llama", {})).to(torch.bfloat16)
    x = inputs(2, 30).to(torch.bfloat16)
    output = model.extend(x[:, :20], None, torch.tensor([20, 9]), window(6, 4))
    output = model.extend(x[:, 20:21], output.state)
    assert output.hidden.dtype == torch.bfloat16 and output.hidden.isfinite().all()
    assert isinstance(output.state, WindowCache) and output.state.layers[0].dtype == torch.bfloat16
