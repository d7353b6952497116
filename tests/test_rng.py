"""Numbers by their place: the same everywhere, evenly spread, none related to another."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_plan import chi_square
from vocolab.rng import draw, mix, permute, uniforms


@given(n=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_permute_is_a_permutation(n: int, key: int):
    assert sorted(permute(np.arange(n), n, key)) == list(range(n))


def test_permute_is_the_same_everywhere():
    assert permute(np.arange(10), 10, 7).tolist() == [2, 4, 0, 7, 6, 5, 1, 9, 8, 3]
    assert permute(np.array([0, 1, 299_999_999]), 300_000_000, 7).tolist() == [227923852, 247699425, 57822093]


def test_permute_spreads_every_number_evenly():
    n, keys = 50, 4000
    counts = np.zeros((n, n))
    for key in range(keys):
        counts[np.arange(n), permute(np.arange(n), n, key)] += 1
    assert abs(chi_square(counts.ravel(), keys / n)) < 5


def test_permute_leaves_no_trace_of_order():
    placed = permute(np.arange(100_000), 100_000, 3)
    steps = np.diff(placed) % 100_000
    assert abs(chi_square(np.histogram(steps, bins=100, range=(0, 100_000))[0], 999.99)) < 5
    assert abs(np.corrcoef(np.arange(100_000), placed)[0, 1]) < 0.02


def test_mix_and_draw_are_frozen():
    """Runs resume with them. Every argument matters, and so does its place."""
    assert mix(1, 2, 3) == 7702586659592502839
    assert len({mix(), mix(0), mix(0, 0), mix(1), mix(0, 1), mix(1, 0), mix(-1)}) == 7
    assert mix(-1) == mix(2**64 - 1)  # what 64 bits hold of it
    assert draw(np.arange(6), np.full(6, 1000), mix(3)).tolist() == [217, 615, 850, 0, 526, 932]
    drawn = draw(np.arange(20_000), np.arange(20_000) % 7 + 1, 5)
    assert bool((drawn < np.arange(20_000) % 7 + 1).all()) and drawn.min() == 0
    sevens = drawn[6::7]
    assert abs(chi_square(np.bincount(sevens, minlength=7), len(sevens) / 7)) < 5


def test_uniforms_are_a_function_of_seed_stream_and_place() -> None:
    seeds = torch.tensor([0, 1, 2, -5, 2**62])
    numbers = uniforms(seeds, 4000)
    assert 0 < float(numbers.min()) and float(numbers.max()) < 1
    assert torch.equal(uniforms(seeds[3:4], 10), numbers[3:4, :10])
    assert not torch.equal(uniforms(seeds, 10, stream=1), numbers[:, :10])
    assert numbers.unique().numel() > 0.999 * numbers.numel()
    assert torch.allclose(numbers.mean(1), torch.tensor(0.5).double(), atol=0.02)
    assert torch.allclose(numbers.var(1), torch.tensor(1 / 12).double(), atol=0.005)
    related = torch.corrcoef(torch.cat([numbers, numbers.roll(1, 1), uniforms(seeds, 4000, 1)]))
    assert float((related - torch.eye(15)).abs().max()) < 0.08
    # Frozen: a seed must give the same speech in every version and on every device.
    assert (numbers[1, :2] * 2**24).tolist() == [1265359.5, 13209507.5]
