"""Batches under a budget of positions: never above it, every utterance once, prompts as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocolab.data.batches import TokenBudget, Utterances
from vocolab.data.budget import MARKS, TooLong
from vocolab.data.plan import Items, Plan
from vocolab.data.shards.index import ROW, Index
from vocolab.errors import UsageError

RATE = 25  # frames a second


def index(frames: list[int] | np.ndarray, symbols: list[int] | np.ndarray | int = 10, speakers: int = 3) -> Index:
    """Utterance i is speaker i % speakers's."""
    rows = np.zeros(len(frames), ROW)
    rows["frames"], rows["symbols"], rows["speaker"] = frames, symbols, np.arange(len(frames)) % speakers
    names = [f"s{i}" for i in range(speakers)]
    return Index(rows, [], [], names, sample_rate=16000, hop=16000 // RATE, levels=2, size=8)


def speech(n: int, seed: int = 0, speakers: int = 10) -> Index:
    """Lengths as in audiobooks: log-normal around 5 s, 14 symbols a second."""
    rng = np.random.default_rng(seed)
    seconds = rng.lognormal(np.log(5), 0.6, n).clip(0.5, 25)
    return index((RATE * seconds).astype(int), (14 * seconds).astype(int) + 2, speakers)


def batches(plan: Plan) -> list[Items]:
    return [plan[b] for b in range(len(plan))]


def positions(index: Index, items: Items) -> np.ndarray:
    return index.rows["symbols"][items.rows] + items.frames + items.prompts.frames + MARKS


def rows(plan: Plan) -> list[int]:
    return [int(row) for items in batches(plan) for row in items.rows]


KINDS = st.sampled_from(["prefix", "segment", "speaker"])


@given(
    lengths=st.lists(st.tuples(st.integers(2, 300), st.integers(0, 80)), min_size=1, max_size=60),
    tokens=st.integers(800, 3000),
    kind=KINDS,
    prompt=st.sampled_from([0.1, 3.0, [0.5, 4.0]]),
    spread=st.sampled_from([0.0, 0.1, 2.0]),
    speakers=st.integers(1, 5),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 100),
    ranks=st.integers(1, 4),
)
@settings(max_examples=100, deadline=None)
def test_no_batch_exceeds_the_budget_and_every_utterance_comes_once(
    lengths, tokens, kind, prompt, spread, speakers, seed, epoch, ranks
):
    frames, symbols = (np.array(column) for column in zip(*lengths, strict=True))
    corpus = index(frames, symbols, speakers)
    plan = TokenBudget(tokens, kind, prompt, spread=spread).plan(corpus, seed, epoch, ranks)
    for items in batches(plan):
        assert len(items) >= 1 and items.whole and not items.audio
        assert len(items) * positions(corpus, items).max() <= tokens
        assert ((items.starts + items.frames) == frames[items.rows]).all()
        ends = items.prompts.starts + items.prompts.frames
        assert (items.prompts.starts >= 0).all() and (ends <= frames[items.prompts.rows]).all()
        assert (items.prompts.frames >= 1).all()
    assert len(plan) % ranks == 0
    taken = rows(plan)
    assert set(taken) == set(range(len(frames)))
    if len(frames) >= 2 * len(plan) or ranks == 1:
        assert len(taken) == len(frames)


def test_a_plan_is_a_pure_function_of_index_seed_and_epoch():
    corpus, budget = speech(400), TokenBudget(4000, prompt_seconds=[1.0, 3.0])

    def epoch(seed: int, number: int) -> list[tuple]:
        def stretch(items: Items) -> tuple:
            return tuple(items.rows.tolist()), tuple(items.starts.tolist()), tuple(items.frames.tolist())

        return [(stretch(items), stretch(items.prompts)) for items in batches(budget.plan(corpus, seed, number))]

    assert epoch(1, 0) == epoch(1, 0)
    others = [epoch(1, 0), epoch(1, 1), epoch(2, 0)]
    assert others[0] != others[1] != others[2] != others[0]
    together = [frozenset(rows) for (rows, _, _), _ in others[0]]
    same = set(together) & {frozenset(rows) for (rows, _, _), _ in others[1]}
    assert len(same) < len(together) / 20  # other company, not another order alone
    plan = budget.plan(corpus, 1, 0)
    known = [plan[b].rows.tolist() for b in (7, 0, 7)]  # asked in any order
    assert known == [list(others[0][b][0][0]) for b in (7, 0, 7)]
    with pytest.raises(IndexError):
        plan[len(plan)]


def test_all_epochs_have_as_many_batches():
    budget, corpus = TokenBudget(2000, prompt_seconds=[1.0, 5.0]), speech(300)
    assert len({len(budget.plan(corpus, 3, epoch, ranks=2)) for epoch in range(5)}) == 1


def test_the_order_of_batches_is_random():
    corpus = speech(2000)
    plan = TokenBudget(3000).plan(corpus, 0, 0)
    mean = np.array([corpus.rows["frames"][items.rows].mean() for items in batches(plan)])
    assert abs(np.corrcoef(np.arange(len(mean)), mean)[0, 1]) < 0.15


def test_padding_is_a_small_part():
    """Of positions that the model computes: under a third of what a fixed size wastes, in real and random lengths."""
    corpus = speech(3000)
    budget = TokenBudget(6000, "segment").plan(corpus, 0, 0)
    ours = padding([positions(corpus, items) for items in batches(budget)])
    size = round(len(corpus) / len(budget))
    fixed = Utterances(size).plan(corpus, 0, 0)
    length = corpus.rows["symbols"] + corpus.rows["frames"].astype(int) + np.minimum(corpus.rows["frames"], 75) + MARKS
    theirs = padding([length[items.rows] for items in batches(fixed)])
    assert ours < 0.08 and ours < theirs / 3


def padding(batches: list[np.ndarray]) -> float:
    padded = sum(len(lengths) * lengths.max() for lengths in batches)
    return 1 - sum(lengths.sum() for lengths in batches) / padded


def test_most_of_the_budget_is_used():
    corpus = speech(3000)
    plan = TokenBudget(6000, "segment").plan(corpus, 0, 0)
    used = [len(items) * int(positions(corpus, items).max()) for items in batches(plan)]
    assert np.mean(used) > 0.85 * 6000


def test_prefix_prompts_are_the_utterances_own_start():
    corpus = index([200, 100, 30, 2])
    items = TokenBudget(2000, "prefix").plan(corpus, 0, 0)
    found = {
        int(r): (int(s), int(n)) for i in batches(items) for r, s, n in zip(i.rows, i.starts, i.frames, strict=True)
    }
    assert found == {0: (75, 125), 1: (50, 50), 2: (15, 15), 3: (1, 1)}  # the rest, at least as long as the prompt
    for batch in batches(items):
        assert (batch.prompts.rows == batch.rows).all() and not batch.prompts.starts.any()
        assert (batch.prompts.frames == batch.starts).all()


def test_segments_are_cut_from_the_whole_utterance_and_leave_it_whole():
    corpus = index([200, 100, 30])
    seen: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for epoch in range(300):
        for items in batches(TokenBudget(2000, "segment").plan(corpus, 0, epoch)):
            assert (items.prompts.rows == items.rows).all() and not items.starts.any()
            for row, start, n in zip(items.rows, items.prompts.starts, items.prompts.frames, strict=True):
                assert n == min(75, corpus.rows["frames"][row])
                seen[int(row)].add(int(start))
    assert min(seen[0]) < 5 and max(seen[0]) > 120 and len(seen[0]) > 80
    assert len(seen[1]) == 26 and seen[2] == {0}


def test_speaker_prompts_come_from_all_other_utterances_of_the_speaker_by_their_length():
    frames = [100, 300, 200, 60, 200, 40, 80]  # speakers 0 1 0 1 0 1 0
    corpus = index(frames, speakers=2)
    counts: dict[int, dict[int, int]] = {row: {} for row in range(7)}
    starts = []
    for epoch in range(600):
        for items in batches(TokenBudget(1200).plan(corpus, 5, epoch)):
            for row, source, start, n in zip(
                items.rows, items.prompts.rows, items.prompts.starts, items.prompts.frames, strict=True
            ):
                assert source != row and source % 2 == row % 2
                assert n == min(75, frames[source])
                counts[int(row)][int(source)] = counts[int(row)].get(int(source), 0) + 1
                starts += [int(start)] if source == 1 else []
    for row, found in counts.items():
        others = [other for other in range(row % 2, 7, 2) if other != row]
        total = sum(frames[other] for other in others)
        for other in others:
            assert found[other] / 600 == pytest.approx(frames[other] / total, abs=0.08)
    assert len(set(starts)) > 150 and max(starts) > 210  # a random place


def test_a_speakers_only_utterance_is_its_own_prompt_and_counted():
    corpus = index([100, 120, 90, 80], speakers=3)  # utterances 1 and 2 have no other
    plan = TokenBudget(2000).plan(corpus, 0, 0)
    assert plan.alone == 2
    for items in batches(plan):
        own = items.prompts.rows == items.rows
        assert (own == np.isin(items.rows, [1, 2])).all()
    assert TokenBudget(2000, "segment").plan(corpus, 0, 0).alone == 0


def test_prompt_lengths_are_drawn_for_a_batch():
    corpus = index([300] * 60)
    found = [
        set(i.prompts.frames.tolist()) for i in batches(TokenBudget(2000, prompt_seconds=[1.0, 4.0]).plan(corpus, 0, 0))
    ]
    assert all(len(lengths) == 1 for lengths in found)
    drawn = {lengths.pop() for lengths in found}
    assert len(drawn) > 8 and min(drawn) >= 25 and max(drawn) <= 100


def test_an_utterance_beyond_the_budget_is_named_with_the_remedy():
    corpus = index([100, 700, 300], symbols=[10, 20, 30])
    with pytest.raises(TooLong) as error:
        TokenBudget(600, "segment").plan(corpus, 0, 0)
    assert error.value.row == 1
    assert str(error.value.named("s-1")) == (
        "utterance 's-1' takes 800 positions with its prompt: the budget of a batch is 600: "
        "raise --data.batches.tokens, or leave it out with --data.batches.max_seconds below 28.00"
    )
    plan = TokenBudget(600, "segment", max_seconds=27.9).plan(corpus, 0, 0)
    assert plan.left_out == 1 and sorted(rows(plan)) == [0, 2]


def test_utterances_beyond_the_limits_are_left_out():
    corpus = index([10, 24, 25, 100, 250, 251])
    plan = TokenBudget(3000, min_seconds=1.0, max_seconds=10.0).plan(corpus, 0, 0)
    assert sorted(rows(plan)) == [2, 3, 4] and plan.left_out == 3


@given(n=st.integers(1, 40), tokens=st.integers(700, 3000), kind=KINDS, ranks=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_evaluation_covers_each_utterance_and_is_the_same_each_time(n: int, tokens: int, kind: str, ranks: int):
    corpus = index(np.random.default_rng(n).integers(2, 200, n))
    budget = TokenBudget(tokens, kind, prompt_seconds=[1.0, 3.0])
    plan, again = budget.cover(corpus, ranks), budget.cover(corpus, ranks)
    assert len(plan) % ranks == 0 and len(plan) > 0
    assert set(rows(plan)) == set(range(n))
    if n >= 2 * len(plan):
        assert len(rows(plan)) == n
    for one, other in zip(batches(plan), batches(again), strict=True):
        assert (one.rows == other.rows).all() and (one.prompts.starts == other.prompts.starts).all()


@given(seed=st.integers(0, 1000), kind=KINDS, speakers=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_no_batch_needs_much_more_than_the_longest(seed: int, kind: str, speakers: int):
    corpus = index(np.random.default_rng(seed).integers(2, 300, 50), speakers=speakers)
    budget = TokenBudget(2000, kind)
    longest = budget.longest(corpus)
    size = len(longest) * int(positions(corpus, longest).max())
    assert size <= 2000
    for epoch in range(4):
        for items in batches(budget.plan(corpus, seed, epoch)):
            lengths = positions(corpus, items)
            assert len(items) * int(lengths.max()) * 0.95 <= size


def test_the_longest_batch_of_like_ones_has_the_longest_sequences():
    corpus = index([100] * 100 + [295] * 10)
    longest = TokenBudget(800, "segment").longest(corpus)
    assert longest.frames.tolist() == [295, 295]  # 770 positions; the short ones reach 760


def test_an_empty_split_has_no_batches():
    plan = TokenBudget().plan(index([]), 0, 0)
    assert len(plan) == 0 and len(TokenBudget().cover(index([]), 2)) == 0
    assert len(TokenBudget(min_seconds=5).plan(index([10, 20]), 0, 0, ranks=2)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "tokens is 0"),
        ({"prompt": "other"}, "prompt is 'other'.*prefix, segment or speaker"),
        ({"prompt_seconds": 0}, "prompt_seconds is 0"),
        ({"prompt_seconds": [3.0, 1.0]}, "prompt_seconds is .3.0, 1.0.*the least and the most"),
        ({"min_seconds": 5.0, "max_seconds": 4.0}, "min_seconds is 5.0 and max_seconds 4.0"),
        ({"spread": -0.1}, "spread is -0.1"),
    ],
)
def test_values_out_of_range_are_one_line(arguments: dict, message: str):
    with pytest.raises(UsageError, match=message):
        TokenBudget(**arguments)


def test_shards_without_codes_are_refused():
    corpus = index([10])
    corpus.levels = 0
    with pytest.raises(UsageError, match="needs codes.*--data.codec"):
        TokenBudget().plan(corpus, 0, 0)


def test_a_prefix_needs_two_frames_and_a_prompt_is_never_empty():
    plan = TokenBudget(500, "prefix", 3.0).plan(index([1, 2, 40]), 0, 0)
    assert sorted(rows(plan)) == [1, 2] and plan.left_out == 1
    for kind in ("segment", "speaker"):
        for items in batches(TokenBudget(500, kind, 0.001).plan(index([10, 20, 30], speakers=1), 0, 0)):
            assert items.prompts.frames.tolist() == [1] * len(items)


def test_the_longest_batch_of_utterances_holds_the_longest():
    assert sorted(Utterances(size=2).longest(index([5, 40, 30, 9])).frames) == [30, 40]
