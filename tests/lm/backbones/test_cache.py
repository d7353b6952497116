import pytest
import torch

from vocolab.errors import VocolabError
from vocolab.lm.backbones import cache as module
from vocolab.lm.backbones.cache import FullAttention, KVCache

LAYERS, HEADS, WIDTH = 2, 3, 4


def qkv(batch, length, seed=0):
    torch.manual_seed(seed)
    return torch.randn(LAYERS, 3, batch, HEADS, length, WIDTH)


def extend(cache, parts, lengths=None):
    """Attention outputs (layers, B, H, n, Dh) of new positions, and the positions themselves."""
    cache.begin(torch.empty(parts.shape[2], parts.shape[-2]), lengths)
    mixed = torch.stack([cache.attend(layer, *parts[layer]) for layer in range(LAYERS)])
    positions = cache.positions
    cache.finish()
    return mixed, positions


def whole(parts):
    length = parts.shape[-2]
    over = FullAttention(torch.full(parts.shape[2:3], length), length, causal=True)
    return torch.stack([over.attend(layer, *parts[layer]) for layer in range(LAYERS)])


def padded(rows):
    """Rows (layers, 3, 1, H, n_b, Dh) of unequal length as one right-padded batch, padding not zero."""
    longest = max(row.shape[-2] for row in rows)
    batch = torch.full((LAYERS, 3, len(rows), HEADS, longest, WIDTH), 7.0)
    for i, row in enumerate(rows):
        batch[:, :, i, :, : row.shape[-2]] = row[:, :, 0]
    return batch


@pytest.mark.parametrize("capacity", [1, 4, 256])
def test_steps_equal_the_whole_sequence_while_memory_grows(monkeypatch, capacity):
    monkeypatch.setattr(module, "FIRST_CAPACITY", capacity)
    parts, cache = qkv(2, 13), KVCache()
    pieces = [extend(cache, parts[..., a:b, :])[0] for a, b in [(0, 5), (5, 6), (6, 7), (7, 10), (10, 11), (11, 13)]]
    torch.testing.assert_close(torch.cat(pieces, -2), whole(parts), atol=1e-6, rtol=0)


def test_memory_doubles():
    cache, capacities = KVCache(), set()
    for i in range(25):
        extend(cache, qkv(1, 50, i))
        capacities.add(cache.capacity)
    assert capacities == {256, 512, 1024, 2048}


def test_rows_of_unequal_length_are_as_alone():
    """Every extension with its own lengths: a prefill, steps, several at once, a row that gets none."""
    counts = [[5, 2, 7], [1, 1, 1], [3, 1, 0], [1, 1, 1], [2, 4, 1]]
    totals = [sum(column) for column in zip(*counts, strict=True)]
    rows = [qkv(1, total, seed) for seed, total in enumerate(totals)]
    wanted = [whole(row) for row in rows]
    cache, done = KVCache(), [0, 0, 0]
    for count in counts:
        chunk = padded([row[..., d : d + c, :] for row, d, c in zip(rows, done, count, strict=True)])
        mixed, positions = extend(cache, chunk, torch.tensor(count))
        for i, (d, c) in enumerate(zip(done, count, strict=True)):
            torch.testing.assert_close(mixed[:, i, :, :c], wanted[i][:, 0, :, d : d + c], atol=1e-6, rtol=0)
            assert positions.expand(3, -1)[i, :c].tolist() == list(range(d, d + c))
        done = [d + c for d, c in zip(done, count, strict=True)]


def test_selected_rows_go_on_as_before_and_free_the_slots_of_the_longest():
    counts, more = [9, 4, 6], 3
    rows = [qkv(1, c + more, seed) for seed, c in enumerate(counts)]
    cache = KVCache()
    extend(cache, padded([row[..., :c, :] for row, c in zip(rows, counts, strict=True)]), torch.tensor(counts))
    assert cache.length == 9
    chosen = [2, 1, 2]
    cache = cache.select(torch.tensor(chosen))
    assert cache.length == 6
    step = padded([rows[i][..., counts[i] :, :] for i in chosen])
    mixed, positions = extend(cache, step)
    for at, i in enumerate(chosen):
        torch.testing.assert_close(mixed[:, at], whole(rows[i])[:, 0, :, counts[i] :], atol=1e-6, rtol=0)
    assert positions[:, 0].tolist() == [6, 4, 6]
    assert cache.select(torch.tensor([0, 2])).start is None  # equal rows need no mask


def test_truncating_forgets_the_last_positions():
    parts, cache = qkv(2, 8), KVCache()
    lengths = torch.tensor([5, 3])
    extend(cache, parts[..., :5, :], lengths)
    wanted = extend(cache, parts[..., 5:6, :])[0]
    cache = cache.truncate(1)
    extend(cache, qkv(2, 3, 9))
    cache = cache.truncate(3)
    torch.testing.assert_close(extend(cache, parts[..., 5:6, :])[0], wanted, atol=0, rtol=0)
    with pytest.raises(VocolabError, match="cannot go back 5 positions.*shortest row has 4"):
        cache.truncate(5)


def test_bidirectional_attention_sees_all_of_its_row_and_no_padding():
    parts = qkv(3, 6)
    over = FullAttention(torch.tensor([6, 4, 0]), 6, causal=False)
    mixed = over.attend(0, *parts[0])
    alone = FullAttention(torch.tensor([4]), 4, causal=False).attend(0, *parts[0, :, 1:2, :, :4])
    torch.testing.assert_close(mixed[1:2, :, :4], alone)
    assert mixed.isfinite().all()  # an empty row has no NaN for the gradients to meet
    assert not torch.allclose(mixed, FullAttention(torch.tensor([6, 4, 0]), 6, causal=True).attend(0, *parts[0]))
