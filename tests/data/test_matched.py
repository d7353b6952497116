"""Crops that are matched as they are read: with other speech of their speaker alone, repeatably, as `knn` would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.tars import HOP, utterance, write_shards
from vocolab.data.batches import Crops, MatchedCrops
from vocolab.data.plan import Items
from vocolab.data.shards.index import ROW, Index
from vocolab.data.shards.reader import ShardReader
from vocolab.errors import UsageError
from vocolab.matching import average, knn

LENGTHS = [30, 27, 22, 51, 12, 40, 9, 33, 28, 61, 5, 38]  # frames; `write_shards` gives row n to speaker n modulo 3
RATE = 16000 / HOP  # frames a second


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    return ShardReader(write_shards(tmp_path_factory.mktemp("shards"), {"train": LENGTHS}), "train")


def batches(**arguments) -> MatchedCrops:
    return MatchedCrops(
        **{"frames": 8, "size": 4, "plain": 0.25, "topk": [1, 5], "pool_seconds": [0.1, 1.0]} | arguments
    )


def all_items(kind: Crops, index: Index, epoch: int = 0) -> list[Items]:
    plan = kind.plan(index, 7, epoch)
    return [plan[batch] for batch in range(len(plan))]


def test_features_are_the_mean_of_the_nearest_in_the_pool(reader: ShardReader):
    matched = 0
    for items in all_items(batches(), reader.index):
        feats = reader.batch(items).feats
        plain = reader.batch(Items(items.rows, items.starts, items.frames)).feats
        for b, (topk, pool) in enumerate(zip(items.matches.topk, items.matches.pools, strict=True)):
            expected = plain[b]
            if topk:
                others = [utterance("train", row, LENGTHS[row])["feats"] for row in pool]
                others = torch.from_numpy(np.concatenate(others)).float()
                expected = average(others, knn(plain[b].float(), others, int(topk))).half()
                matched += 1
            assert torch.equal(feats[b], expected)
    assert matched > 10


def test_audio_and_places_are_those_of_plain_crops(reader: ShardReader):
    for matched, plain in zip(all_items(batches(), reader.index), all_items(Crops(8, 4), reader.index), strict=True):
        ours, theirs = reader.batch(matched), reader.batch(plain)
        assert torch.equal(ours.audio, theirs.audio)
        assert torch.equal(ours.rows, theirs.rows) and torch.equal(ours.starts, theirs.starts)


@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=30),
    speakers=st.integers(1, 4),
    topk=st.tuples(st.integers(1, 4), st.integers(0, 30)),
    seconds=st.tuples(st.floats(0.01, 1), st.floats(0, 2)),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=100, deadline=None)
def test_pools_are_other_speech_of_the_speaker(lengths, speakers, topk, seconds, seed):
    rows = np.zeros(len(lengths), ROW)
    rows["frames"], rows["speaker"] = lengths, np.arange(len(lengths)) * 7 % speakers
    index = Index(rows, [], [], [str(s) for s in range(speakers)], 16000, HOP, channels=4)
    low, high = topk[0], topk[0] + topk[1]
    kind = batches(size=1, topk=[low, high], pool_seconds=[seconds[0], seconds[0] + seconds[1]])
    shortest, longest = (max(round(s * RATE), 1) for s in (seconds[0], seconds[0] + seconds[1]))
    plan = kind.plan(index, seed, 3)
    for batch in range(len(plan)):
        items = plan[batch]
        row, k, pool = int(items.rows[0]), int(items.matches.topk[0]), items.matches.pools[0]
        if not k:
            continue
        frames = rows["frames"][pool].astype(int)
        everything = rows["frames"][(rows["speaker"] == rows["speaker"][row]) & (np.arange(len(rows)) != row)].sum()
        assert low <= k <= high and k <= frames.sum()
        assert row not in pool and len(set(pool.tolist())) == len(pool)
        assert set(rows["speaker"][pool].tolist()) == {int(rows["speaker"][row])}
        # As many utterances as the drawn length needs, or all.
        assert frames.sum() >= min(shortest, everything) and frames[:-1].sum() <= longest


def test_choices_are_a_function_of_seed_and_epoch_and_vary(reader: ShardReader):
    def choices(epoch: int) -> list:
        items = all_items(batches(), reader.index, epoch)
        return [(i.matches.topk.tolist(), [pool.tolist() for pool in i.matches.pools]) for i in items]

    assert choices(0) == choices(0) != choices(1)


def test_shares_are_as_asked():
    rows = np.zeros(4000, ROW)
    rows["frames"], rows["speaker"] = 20, np.arange(4000) % 10
    index = Index(rows, [], [], list("abcdefghij"), 16000, HOP, channels=4)
    plan = batches(plain=0.3, topk=[1, 8], pool_seconds=[1, 8]).plan(index, 1, 0)
    items = plan.items(np.arange(plan.count))
    topk, sizes = items.matches.topk, np.array([20 * len(pool) for pool in items.matches.pools])
    assert abs((topk == 0).mean() - 0.3) < 0.03
    assert all(abs((topk == k).mean() - 0.7 / 8) < 0.02 for k in range(1, 9))
    assert abs((sizes[topk > 0] < np.sqrt(8) * RATE).mean() - 0.5) < 0.05  # the middle of the logarithms
    assert len({pool[0] for pool in items.matches.pools if len(pool)}) > 1000  # they begin anywhere


def test_a_speaker_without_other_speech_stays_plain():
    rows = np.zeros(2, ROW)
    rows["frames"], rows["speaker"] = 50, [0, 1]
    index = Index(rows, [], [], ["a", "b"], 16000, HOP, channels=4)
    plan = batches(plain=0.0).plan(index, 1, 0)
    assert len(plan) and not any(plan[batch].matches.topk.any() for batch in range(len(plan)))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"plain": 1.5}, "plain is 1.5"),
        ({"topk": [4, 2]}, "topk is"),
        ({"topk": 0}, "topk is 0"),
        ({"topk": [1, 2, 3]}, "topk is"),
        ({"pool_seconds": -1.0}, "pool_seconds is -1.0"),
    ],
)
def test_wrong_numbers_are_refused(arguments: dict, words: str):
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        batches(**arguments)


def test_shards_without_features_are_refused(tmp_path: Path):
    index = Index(np.zeros(0, ROW), [], [], [], 16000, 1)
    with pytest.raises(UsageError, match="needs features"):
        batches().plan(index, 0, 0)
