"""Blocked search equals the exhaustive one, whatever the sizes, blocks and exclusions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from vocolab.errors import VocolabError
from vocolab.matching import Pool, average, knn

DIM = 12


def random_frames(count: int, seed: int, dim: int = DIM) -> torch.Tensor:
    """Frames of very different norms, so that a dot product in place of the cosine is caught."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(count, dim, generator=generator)
    return frames * torch.rand(count, 1, generator=generator).mul(6).exp()


def exhaustive(query: torch.Tensor, pool: torch.Tensor, k: int, hidden: torch.Tensor | None = None) -> torch.Tensor:
    similarity = F.normalize(query.double(), dim=1) @ F.normalize(pool.double(), dim=1).T
    if hidden is not None:
        similarity = similarity.masked_fill(hidden, -torch.inf)
    return similarity.sort(dim=1, descending=True).indices[:, :k]


@settings(max_examples=60, deadline=None)
@given(
    queries=st.integers(1, 70),
    size=st.integers(1, 500),
    k=st.integers(1, 9),
    block=st.integers(1, 600),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_equals_exhaustive_search(queries, size, k, block, seed, data):
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    k = min(k, size - (stop - start))
    if k < 1:
        return
    query, pool = random_frames(queries, seed), random_frames(size, seed + 1)
    hidden = torch.zeros(1, size, dtype=torch.bool)
    hidden[:, start:stop] = True
    expected = exhaustive(query, pool, k, hidden)
    for exclude in (range(start, stop), slice(start, stop), torch.tensor([[start, stop]]).expand(queries, 2)):
        assert torch.equal(knn(query, pool, k, exclude, block), expected)


@pytest.mark.parametrize("block", [37, 256, 100_000])
def test_own_utterance_is_excluded_row_by_row(block):
    lengths = torch.tensor([30, 1, 120, 64])
    pool = random_frames(int(lengths.sum()), 5)
    stops = lengths.cumsum(0).repeat_interleave(lengths)
    spans = torch.stack([stops - lengths.repeat_interleave(lengths), stops], 1)
    column = torch.arange(len(pool))
    hidden = (column >= spans[:, :1]) & (column < spans[:, 1:])
    found = knn(pool, pool, 4, spans, block)
    assert torch.equal(found, exhaustive(pool, pool, 4, hidden))
    assert not hidden.gather(1, found).any()


def test_without_exclusion_a_frame_is_its_own_neighbour():
    pool = random_frames(3000, 7)
    assert torch.equal(knn(pool[100:200], pool, 1)[:, 0], torch.arange(100, 200))


def test_many_queries_pass_through_several_query_blocks():
    query, pool = random_frames(5000, 1), random_frames(300, 2)
    assert torch.equal(knn(query, pool, 3), exhaustive(query, pool, 3))


@pytest.mark.parametrize("kind", ["half", "memmap", "array"])
def test_half_and_mapped_pools(kind, tmp_path):
    half = random_frames(900, 3).half()
    if kind == "half":
        pool = half
    elif kind == "array":
        pool = half.numpy()
    else:
        np.save(tmp_path / "pool.npy", half.numpy())
        pool = np.load(tmp_path / "pool.npy", mmap_mode="r")
    query = random_frames(40, 4)
    indices = knn(query, pool, 4, block=128)
    assert torch.equal(indices, exhaustive(query, half.float(), 4))
    expected = half.float()[indices].mean(1)
    torch.testing.assert_close(average(pool, indices), expected)
    assert average(pool, indices).dtype == torch.float32


def test_pool_serves_many_queries():
    frames = random_frames(400, 8)
    pool = Pool(frames, block=64)
    assert len(pool) == 400
    for seed in range(3):
        query = random_frames(20, seed)
        assert torch.equal(pool.knn(query, 4, range(10, 50)), knn(query, frames, 4, range(10, 50)))


def test_a_silent_frame_breaks_nothing():
    pool = random_frames(50, 9)
    pool[7] = 0
    query = torch.cat([torch.zeros(1, DIM), random_frames(3, 10)])
    found = knn(query, pool, 4)
    assert torch.equal(found[1:], exhaustive(query[1:], pool, 4))
    assert ((found >= 0) & (found < 50)).all()


class LargestTensor(TorchDispatchMode):
    """Records the largest result of any operation that owns its memory."""

    def __init__(self, given: torch.Tensor):
        super().__init__()
        self.given, self.elements = given.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() != self.given:
            self.elements = max(self.elements, result.numel())
        return result


def test_similarities_never_fill_the_whole_matrix():
    query, pool = random_frames(100, 1), random_frames(200_000, 2)
    with LargestTensor(pool) as largest:
        knn(query, pool, 4, block=8192)
    assert 100 * 4096 < largest.elements <= 100 * 8192  # the whole would be 100 × 200,000


def test_excluded_ranges_may_reach_beyond_the_pool():
    query, pool = random_frames(2, 0), random_frames(6, 1)
    beyond = torch.tensor([[-5, 2], [4, 99]])
    assert torch.equal(knn(query, pool, 4, beyond), knn(query, pool, 4, torch.tensor([[0, 2], [4, 6]])))


@pytest.mark.parametrize(
    ("k", "exclude", "message"),
    [
        (0, None, r"k = 0 .*at least 1"),
        (-3, None, r"k = -3 .*at least 1"),
        (21, None, r"k = 21 .* 20 frames.*k ≤ 20"),
        (16, range(0, 5), r"k = 16 .* 15 frames.*k ≤ 15"),
        (1, range(0, 20), r"pool of 0 frames"),
    ],
)
def test_k_that_does_not_fit_is_one_clear_line(k, exclude, message):
    with pytest.raises(VocolabError, match=message):
        knn(random_frames(3, 0), random_frames(20, 1), k, exclude)


def test_shapes_that_do_not_fit():
    with pytest.raises(VocolabError, match="same encoder"):
        knn(random_frames(3, 0, dim=8), random_frames(20, 1), 1)
    with pytest.raises(VocolabError, match=r"\(N, C\)"):
        knn(random_frames(3, 0), torch.zeros(20), 1)
    with pytest.raises(VocolabError, match="step 1"):
        knn(random_frames(3, 0), random_frames(20, 1), 1, range(0, 10, 2))
