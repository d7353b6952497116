"""The plan: uniform, no repeats, the same everywhere, at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocolab.data.plan import Cover, CropPlan, Items, LengthPlan, Plan, UtterancePlan, share, walk


def crops(plan: Plan) -> list[tuple[int, int]]:
    """(row, start) of all full batches' crops, in order."""
    items = plan.items(np.arange(len(plan) * plan.size))
    return list(zip(items.rows.tolist(), items.starts.tolist(), strict=True))


def one(items: Items) -> tuple[int, int]:
    return int(items.rows[0]), int(items.starts[0])


def chi_square(counts: np.ndarray, expected: np.ndarray | float) -> float:
    """Standard score of a chi-square statistic over cells (n,)."""
    expected = np.broadcast_to(expected, counts.shape)
    n = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - n) / np.sqrt(2 * n))


def test_every_possible_crop_is_equally_likely():
    frames, length, epochs = np.array([22, 43, 44, 10, 100, 65], np.uint32), 22, 6000
    possible = [(row, start) for row, n in enumerate(frames) for start in range(max(int(n) - length + 1, 0))]
    seen = dict.fromkeys(possible, 0)
    count = 0
    for epoch in range(epochs):
        plan = CropPlan(frames, length, 1, seed=5, epoch=epoch)
        count = len(plan)
        for crop in crops(plan):
            seen[crop] += 1
    assert count == len(possible) // length
    # Crops of an epoch lie at fixed distances, so counts vary less than independent ones: only too much is wrong.
    assert chi_square(np.array(list(seen.values())), epochs * count / len(possible)) < 4


def test_first_crop_of_an_epoch_is_uniform():
    frames, length, epochs = np.array([60, 30, 90], np.uint32), 22, 8000
    first = [one(CropPlan(frames, length, 1, seed, epoch=3)[0]) for seed in range(epochs)]
    possible = [(row, start) for row, n in enumerate(frames) for start in range(int(n) - length + 1)]
    assert abs(chi_square(np.array([first.count(crop) for crop in possible]), epochs / len(possible))) < 5


@given(
    frames=st.lists(st.integers(0, 200), min_size=1, max_size=40),
    length=st.integers(1, 50),
    size=st.integers(1, 9),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_no_frame_twice_in_an_epoch(frames: list[int], length: int, size: int, seed: int, epoch: int):
    plan = CropPlan(np.array(frames, np.uint32), length, size, seed, epoch)
    assert plan.left_out == sum(n < length for n in frames)
    used = [np.zeros(n, int) for n in frames]
    for batch in range(len(plan)):
        items = plan[batch]
        assert len(items) == size and not items.whole
        for row, start, n in zip(items.rows, items.starts, items.frames, strict=True):
            assert n == length and 0 <= start <= frames[row] - length
            used[row][start : start + length] += 1
    assert max(u.max(initial=0) for u in used) <= 1
    if any(n >= length for n in frames):
        assert plan.count == max(1, sum(max(n - length + 1, 0) for n in frames) // length)


def test_an_epoch_is_every_utterances_length_once():
    frames = np.random.default_rng(0).integers(100, 1500, 500).astype(np.uint32)
    plan = CropPlan(frames, 22, 16, 0, 0)
    used = np.zeros(500)
    for row, _ in crops(plan):
        used[row] += 22
    inner = used / (frames - 21)
    assert 0.95 < used.sum() / frames.sum() <= 1
    assert inner.min() > 0.6 and inner.max() < 1.3  # one crop more or less


def test_epochs_and_seeds_differ_and_repeat():
    frames = np.full(50, 300, np.uint32)

    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        return crops(CropPlan(frames, 22, 4, seed, epoch))

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) != order(2, 2) != order(1, 2)
    assert len({frozenset(order(1, epoch)) for epoch in range(30)}) > 15  # other phases, not just other orders


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_the_first_batches_alike(ranks: int):
    plan = CropPlan(np.full(20, 100, np.uint32), 22, 3, 0, 0)
    n = share(len(plan), ranks)
    parts = [[i * ranks + rank for i in range(n)] for rank in range(ranks)]
    assert {len(part) for part in parts} == {len(plan) // ranks}
    assert sorted(sum(parts, [])) == list(range(len(plan) // ranks * ranks))


def test_no_utterance_long_enough():
    for frames in ([], [3, 4]):
        plan = CropPlan(np.array(frames, np.uint32), 22, 1, 0, 0)
        assert len(plan) == 0 and plan.left_out == len(frames)
        with pytest.raises(IndexError):
            plan[0]


def test_one_utterance_of_one_crop():
    plan = CropPlan(np.array([22], np.uint32), 22, 1, 0, 0)
    assert crops(plan) == [(0, 0)]


def test_utterances_in_random_order_each_once():
    frames = np.array([5, 0, 7, 9, 4, 6, 8], np.uint32)
    plan = UtterancePlan(frames, 2, 0, 0)
    rows = [int(r) for b in range(len(plan)) for r in plan[b].rows]
    assert plan.left_out == 1 and sorted(rows) == [0, 2, 3, 4, 5, 6]
    assert all(plan[b].whole and (plan[b].frames == frames[plan[b].rows]).all() for b in range(len(plan)))
    assert rows != [int(r) for b in range(3) for r in UtterancePlan(frames, 2, 0, 1)[b].rows]


@given(n=st.integers(1, 60), size=st.integers(1, 9), ranks=st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_cover_gives_each_sample_once_and_each_rank_as_much(n: int, size: int, ranks: int):
    frames = np.random.default_rng(n).integers(1, 100, n).astype(np.uint32)
    plan = Cover(LengthPlan(frames, size), ranks)
    batches: list[Items] = [plan[b] for b in range(len(plan))]
    assert len(plan) % ranks == 0 and all(1 <= len(b) <= max(size, 2) for b in batches)
    rows = sorted(int(r) for b in batches for r in b.rows)
    if n >= ranks:
        assert rows == list(range(n))
        assert max(len(b) for b in batches) - min(len(b) for b in batches) <= 1
    else:
        assert set(rows) == set(range(n)) and len(batches) == ranks


def test_cover_puts_similar_lengths_together():
    frames = np.random.default_rng(1).integers(1, 1000, 400).astype(np.uint32)
    plan = Cover(LengthPlan(frames, 8))
    padded = sum(len(plan[b]) * int(plan[b].frames.max()) for b in range(len(plan)))
    assert padded < 1.05 * frames.sum()
    assert [plan[b].frames.mean() for b in range(len(plan))] != sorted(plan[b].frames.mean() for b in range(len(plan)))


def test_cover_of_nothing():
    assert len(Cover(LengthPlan(np.array([], np.uint32), 8), 2)) == 0


def test_walk_goes_on_from_any_position():
    lengths = [3, 5, 2, 4, 4, 4]
    steps = walk(lambda epoch: lengths[epoch], 0)
    whole = [next(steps) for _ in range(18)]
    assert whole[:9] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]
    for position in range(14):
        steps = walk(lambda epoch: lengths[epoch], position)
        assert [next(steps) for _ in range(4)] == whole[position : position + 4]
