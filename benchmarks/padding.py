"""How much of the positions that a language model computes is padding: batches under a token budget against batches of
a fixed size.

Both sides batch the same utterances with the same prompts: the fixed size is the mean size of the budget's batches, and
its utterances come in random order, as a DataLoader with `shuffle=True` gives them. `LIBRITTS` are lengths drawn as
LibriTTS has them (log-normal, 0.5 to 30 s, median 4.6 s); `BUILTIN` are those of the built-in speech. A third figure
times one epoch's plan.
"""

from __future__ import annotations

import statistics

import numpy as np
from harness import arguments, record, report, seconds

from vocolab import audio
from vocolab.data.batches import TokenBudget
from vocolab.data.budget import MARKS
from vocolab.data.corpora import BuiltinSpeech
from vocolab.data.plan import Items, UtterancePlan
from vocolab.data.shards.index import ROW, Index

TOKENS = 6000  # positions of a batch; VALL-E trains on so many acoustic tokens a GPU
SYMBOLS = 14  # of text a second


def index(seconds: np.ndarray, symbols: np.ndarray, speakers: np.ndarray, rate: int) -> Index:
    """seconds, symbols, speakers (n,); rate: frames a second."""
    rows = np.zeros(len(seconds), ROW)
    rows["frames"], rows["symbols"], rows["speaker"] = rate * seconds, symbols + 2, speakers
    return Index(rows, [], [], [str(s) for s in range(speakers.max() + 1)], 24000, 24000 // rate, levels=8, size=1024)


def libritts(utterances: int) -> Index:
    """`utterances` of log-normal length, 75 frames a second, 160 to a speaker."""
    rng = np.random.default_rng(0)
    seconds = rng.lognormal(np.log(4.6), 0.75, utterances).clip(0.5, 30)
    symbols = (SYMBOLS * seconds * rng.normal(1, 0.15, utterances).clip(0.5, 2)).astype(int)
    return index(seconds, symbols, rng.integers(0, max(utterances // 160, 1), utterances), 75)


def builtin() -> Index:
    """The built-in speech's own lengths and texts, 25 frames a second."""
    utterances = BuiltinSpeech().splits()["train"]
    names = {name: n for n, name in enumerate(sorted({u.speaker for u in utterances}))}
    return index(
        np.array([audio.info(u.path).seconds for u in utterances]),
        np.array([len(u.text or "") for u in utterances]),
        np.array([names[u.speaker] for u in utterances]),
        25,
    )


def positions(index: Index, items: Items) -> np.ndarray:
    """How many positions each row of a batch has, without padding."""
    return index.rows["symbols"][items.rows] + items.frames + items.prompts.frames + MARKS


def shares(index: Index, tokens: int, epoch: int) -> tuple[float, float, float]:
    """Share of padding of (a fixed batch size, the budget), and that batch size."""
    plan = TokenBudget(tokens).plan(index, 0, epoch)
    batches = [plan[b] for b in range(len(plan))]
    lengths = [positions(index, items) for items in batches]
    assert max(len(rows) * rows.max() for rows in lengths) <= tokens
    length = np.zeros(len(index), np.int64)  # of each utterance, prompt included
    for items, found in zip(batches, lengths, strict=True):
        length[items.rows] = found
    assert (length > 0).all(), "both sides must hold all utterances"
    size = len(index) / len(plan)
    order = UtterancePlan(index.rows["frames"], 1, 0, epoch).items(np.arange(len(index))).rows
    fixed = np.array_split(length[order], round(len(order) / size))
    return padding(fixed), padding(lengths), size


def padding(batches: list[np.ndarray]) -> float:
    """Padded positions over all positions."""
    padded = sum(len(rows) * int(rows.max()) for rows in batches)
    return 1 - sum(int(rows.sum()) for rows in batches) / padded


def compare(name: str, index: Index, tokens: int, repeats: int) -> dict:
    runs = [shares(index, tokens, epoch) for epoch in range(repeats)]
    fixed, ours, size = (statistics.median(column) for column in zip(*runs, strict=True))
    extra = {"tokens": tokens, "utterances": len(index), "mean_batch": round(size, 2)}
    return record(f"padding:{name}", ours, "share of positions", fixed, fixed / ours, repeats, **extra)


def plan_time(index: Index, repeats: int) -> dict:
    times = [seconds(lambda e=epoch: TokenBudget(TOKENS).plan(index, 0, e)[0]) for epoch in range(repeats)]
    return record("padding:plan", statistics.median(times), "s", repeats=repeats, utterances=len(index))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--utterances", type=int, default=100_000)
    args = parser.parse_args()
    corpus = libritts(args.utterances)
    figures = [compare("LIBRITTS", corpus, TOKENS, args.repeats)]
    for tokens in (1500, TOKENS):
        suffix = "" if tokens == TOKENS else f"_{tokens}"
        figures.append(compare(f"BUILTIN{suffix}", builtin(), tokens, args.repeats))
    figures.append(plan_time(corpus, args.repeats))
    report(figures, args.json)


if __name__ == "__main__":
    main()
