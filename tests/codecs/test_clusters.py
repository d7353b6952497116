"""Lloyd's algorithm, on its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vocolab.codecs import clusters
from vocolab.codecs.clusters import kmeans, means, nearest


def points(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def cost(x: torch.Tensor, centres: torch.Tensor) -> float:
    return torch.cdist(x, centres).min(dim=1).values.square().mean().item()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
def test_nearest_is_the_smallest_distance(count, dim, centres, seed):
    x, c = points(count, dim, seed), points(centres, dim, seed + 1)
    distances = torch.cdist(x, c, compute_mode="donot_use_mm_for_euclid_dist")
    chosen = distances.gather(1, nearest(x, c)[:, None])[:, 0]
    torch.testing.assert_close(chosen, distances.min(dim=1).values, atol=1e-4, rtol=1e-4)


def test_blocks_change_nothing(monkeypatch):
    x, c = points(1000, 5), points(30, 5, 1)
    whole = nearest(x, c)
    monkeypatch.setattr(clusters, "ROWS", 77)
    assert torch.equal(nearest(x, c), whole) and len(nearest(x[:0], c)) == 0


def test_means_golden():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]])
    averages, sizes = means(x, torch.tensor([2, 2, 0]), 3)
    assert averages.tolist() == [[5.0, 0.0], [0.0, 0.0], [2.0, 3.0]] and sizes.tolist() == [1, 0, 2]


def test_it_finds_clusters_that_are_there():
    true = 50 * points(3, 6)
    x = (true[:, None] + 0.1 * points(3 * 40, 6, 1).view(3, 40, 6)).flatten(0, 1)
    found = min((kmeans(x, 3, seed) for seed in range(20)), key=lambda centres: cost(x, centres))
    assert torch.cdist(true, found).min(dim=1).values.max() < 0.1


def test_every_round_is_no_worse():
    x = points(3000, 8)
    costs = [cost(x, kmeans(x, 40, 3, rounds)) for rounds in (1, 2, 4, 8, 16)]
    assert costs == sorted(costs, reverse=True) and costs[-1] < 0.95 * costs[0]


def test_the_seed_decides():
    x = points(500, 4)
    state = torch.get_rng_state()
    assert torch.equal(kmeans(x, 20, 5), kmeans(x, 20, 5)) and not torch.equal(kmeans(x, 20, 5), kmeans(x, 20, 6))
    assert torch.equal(torch.get_rng_state(), state)


def test_empty_clusters_start_anew():
    x = torch.cat([torch.zeros(200, 2), points(20, 2) + 100])  # most of the first centres are the same point
    centres = kmeans(x, 10, 0)
    assert centres.isfinite().all() and len(nearest(x, centres).unique()) > 5
    assert cost(x, centres) < 1.0


@pytest.mark.parametrize("count", [1, 7])
def test_as_many_clusters_as_points(count):
    x = points(count, 3)
    assert cost(x, kmeans(x, count)) < 1e-6
