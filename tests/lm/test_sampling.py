"""Sampling: the golden values of the published methods, and what each promises."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vocolab.errors import UsageError
from vocolab.lm import Sampling, sampling
from vocolab.rng import uniforms

GOLDEN = torch.tensor([[2.0, 1.0, 0.0, -1.0]])


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero()[:, 0].tolist() for row in logits]


def random_logits(rows: int = 4, size: int = 50, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def test_repetition_penalty() -> None:
    previous = torch.tensor([[0, 3, 3]])
    assert sampling.repetition_penalty(GOLDEN, previous, 2.0).tolist() == [[1, 1, 0, -2]]  # golden
    # With a decay of 1 the factor is 1 + 1 / distance, and the nearest occurrence alone counts.
    decayed = sampling.repetition_penalty(GOLDEN, previous, 2.0, 1.0)
    assert decayed.tolist()[0] == pytest.approx([2 / (1 + 1 / 3), 1, 0, -2])
    logits = random_logits()
    seen = torch.randint(0, 50, (4, 30), generator=torch.Generator().manual_seed(1))
    less = sampling.repetition_penalty(logits, seen, 1.5, 0.7)
    for b, v in itertools.product(range(4), range(50)):
        where = (seen[b] == v).nonzero()[:, 0]
        factor = 1 + 0.5 * (30 - int(where[-1])) ** -0.7 if len(where) else 1.0
        logit = float(logits[b, v])
        assert float(less[b, v]) == pytest.approx(logit / factor if logit > 0 else logit * factor, rel=1e-5)


@pytest.mark.parametrize("stop_logit", [-3.0, -0.1, 0.0, 0.1, 3.0])
def test_positive_length_penalty_lengthens_whatever_the_sign(stop_logit: float) -> None:
    # The program `vall_e` divides the logit, and so shortens where it is negative.
    logits = torch.tensor([[1.0, stop_logit]])
    before = logits.softmax(1)[0, 1]
    stops = [sampling.length_penalty(logits, n, 0.5, stop=1).softmax(1)[0, 1] for n in (2, 10, 100)]
    assert before > stops[0] > stops[1] > stops[2]
    assert sampling.length_penalty(logits, 10, -0.5, stop=1).softmax(1)[0, 1] > before
    assert logits[0, 1] == stop_logit  # what was given is left as it was


def test_top_k() -> None:
    # Exactly k; among equals the lowest ids.
    assert kept(sampling.top_k(torch.tensor([[1.0, 1.0, 1.0, 0.0]]), 2)) == [[0, 1]]
    logits = random_logits()
    for k in (1, 7, 50, 80):
        filtered = sampling.top_k(logits, k)
        assert torch.equal(filtered.isfinite().sum(1), torch.full((4,), min(k, 50)))
        assert torch.equal(filtered.topk(min(k, 50)).values, logits.topk(min(k, 50)).values)
    assert torch.equal(sampling.top_k(logits, 0), logits)


def test_top_p() -> None:
    assert kept(sampling.top_p(GOLDEN, 0.6)) == [[0]]  # golden
    assert kept(sampling.top_p(GOLDEN, 0.7)) == [[0, 1]]  # golden
    logits = random_logits()
    probability = logits.softmax(1)
    for p in (1e-6, 0.3, 0.9, 0.999):
        for b, tokens in enumerate(kept(sampling.top_p(logits, p))):
            mass = probability[b, tokens]
            assert mass.sum() >= p - 1e-6 > (mass.sum() - mass.min()) - 2e-6  # none less would reach p


def test_dynamic_temperature() -> None:
    assert float(GOLDEN.softmax(1).max()) == pytest.approx(0.643914, abs=1e-6)
    for minimum, wanted in ((0.1, 0.368349), (0.5, 0.691678), (1.0, 1.095839)):  # golden
        assert float(sampling.dynamic_temperature(GOLDEN, 1.5, minimum)) == pytest.approx(wanted, abs=1e-6)
    divided = sampling.tempered(GOLDEN, 1.5, 0.5)
    assert torch.allclose(divided.softmax(1), (GOLDEN / 0.691678).softmax(1), atol=1e-6)


def test_small_temperatures_are_greedy_and_not_nan() -> None:
    logits = random_logits()
    for temperature in (1e-3, 1e-38):
        assert torch.equal(sampling.categorical(sampling.tempered(logits, temperature), torch.full((4,), 0.5)),
                           logits.argmax(1))  # fmt: skip


def zipf(n: int = 1024, s: float = 1.2) -> torch.Tensor:
    return (-s * torch.arange(1, n + 1).double().log())[None]


def test_mirostat_golden() -> None:
    ranked = zipf().softmax(1)
    s = sampling.zipf_exponent(ranked)
    assert float(s) == pytest.approx(1.2, abs=1e-9)
    for mu, wanted in ((0.2, 0), (3.0, 2), (6.0, 11)):  # golden: k before the one that is added
        assert int(sampling.mirostat_k(s, torch.tensor([mu]).double(), 1024)) == wanted + 1


def test_mirostat_estimates_from_the_hundred_likeliest() -> None:
    """Equation 10 of the paper with m = 100: the exponent of tokens that fall off faster from rank 51 on."""
    ranks = torch.arange(1, 301).double()
    ranked = torch.where(ranks <= 50, 1 / ranks, 50 / ranks**2)[None]
    pairs = [(math.log((i + 1) / i), math.log(float(ranked[0, i - 1] / ranked[0, i]))) for i in range(1, 101)]
    wanted = sum(t * b for t, b in pairs) / sum(t * t for t, _ in pairs)
    assert float(sampling.zipf_exponent(ranked)) == pytest.approx(wanted, rel=1e-9)
    first_half = sum(t * b for t, b in pairs[:50]) / sum(t * t for t, _ in pairs[:50])
    assert abs(first_half - wanted) > 1e-3


@pytest.mark.parametrize("s", [1.0, 1.0 + 1e-9, 0.0, -0.5, 50.0])
def test_mirostat_of_odd_exponents_keeps_from_one_to_all(s: float) -> None:
    k = sampling.mirostat_k(torch.tensor([s]).double(), torch.tensor([6.0]).double(), 1024)
    assert 1 <= int(k) <= 1024


def test_mirostat_reaches_its_surprise() -> None:
    logits = zipf(s=1.1).float()
    probability = logits.softmax(1)[0]
    for tau in (3.0, 5.0):  # the likeliest token alone has 2.5 bits
        mu = sampling.first_mu(Sampling(mirostat_tau=tau), 1, logits.device)
        assert float(mu) == 2 * tau
        surprises = []
        for u in torch.rand(600, generator=torch.Generator().manual_seed(3)):
            token, mu = sampling.mirostat(logits, mu, u[None], tau, eta=0.1)
            surprises.append(-math.log2(probability[token]))
        assert sum(surprises[100:]) / 500 == pytest.approx(tau, abs=0.25)


def test_mirostat_state_is_a_rows_own() -> None:
    logits, uniform = random_logits(), torch.tensor([0.1, 0.4, 0.6, 0.9])
    mu = torch.tensor([1.0, 3.0, 6.0, 9.0])
    tokens, after = sampling.mirostat(logits, mu, uniform, 3.0, 0.1)
    for b in range(4):
        one = slice(b, b + 1)
        token, alone = sampling.mirostat(logits[one], mu[one], uniform[one], 3.0, 0.1)
        assert token == tokens[b] and torch.allclose(alone, after[one])


def test_mirostat_behind_a_filter_draws_what_the_filter_left() -> None:
    logits = sampling.top_k(random_logits(), 3)
    for u in (0.01, 0.5, 0.99):
        tokens, mu = sampling.mirostat(logits, torch.full((4,), 20.0), torch.full((4,), u), 10.0, 0.1)
        assert bool(logits.gather(1, tokens[:, None]).isfinite().all()) and bool(mu.isfinite().all())


def test_categorical_has_the_probabilities_of_the_logits() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0, 2.0, -torch.inf]])
    u = (torch.arange(2000) + 0.5) / 2000
    tokens = sampling.categorical(logits.expand(2000, -1), u)
    assert torch.allclose(tokens.bincount(minlength=5) / 2000, logits.softmax(1)[0], atol=1e-3)
    assert sampling.categorical(logits, torch.tensor([1 - 2.0**-25])).tolist() == [3]  # nothing beyond the last


# A model of 3 symbols and a stop, by table: the logits of what follows each last symbol.
TABLE = torch.randn(5, 4, generator=torch.Generator().manual_seed(35)) * 1.5
STOP, LONGEST = 3, 5


def search(width: int) -> tuple[list[int], float]:
    scores, ended = sampling.first_scores(1, width, TABLE.device), torch.zeros(1, width, dtype=torch.bool)
    last, sequences = torch.full((1, width), 4), [[] for _ in range(width)]
    for _ in range(LONGEST):
        beams = sampling.beam_step(TABLE[last], scores, ended, STOP)
        sequences = [
            sequences[p] + ([] if bool(ended[0, p]) else [t])
            for p, t in zip(beams.parents[0].tolist(), beams.tokens[0].tolist(), strict=True)
        ]
        scores, ended, last = beams.scores, beams.ended, beams.tokens.clamp(max=3)
    return sequences[0], float(scores[0, 0])


def every_sequence() -> list[tuple[float, list[int]]]:
    logp = TABLE.log_softmax(1)
    found = []

    def grow(sequence: list[int], score: float) -> None:
        if len(sequence) == LONGEST or (sequence and sequence[-1] == STOP):
            found.append((score, sequence))
            return
        for token in range(4):
            grow([*sequence, token], score + float(logp[sequence[-1] if sequence else 4, token]))

    grow([], 0.0)
    return found


def test_beam_search() -> None:
    greedy, last = [], 4
    while len(greedy) < LONGEST and STOP not in greedy:
        last = int(TABLE[last].argmax())
        greedy.append(last)
    assert search(1)[0] == greedy
    score, best = max(every_sequence())
    sequence, found = search(4**LONGEST)  # nothing is ever dropped
    assert sequence == best and found == pytest.approx(score, abs=1e-5)
    assert len(best) == 3 and best != greedy  # or the table would show nothing
    assert search(1)[1] <= search(3)[1] + 1e-6 <= found + 2e-6


def test_repetition_aware_sampling() -> None:
    # The filter leaves token 0 alone; once it fills a fifth of the window, the full distribution is drawn from.
    full = torch.tensor([[1.0, 0.9, 0.8]])
    only = torch.tensor([[1.0, -torch.inf, -torch.inf]])
    first, second = torch.tensor([0.5]), torch.tensor([0.99])
    rare, often = torch.tensor([[0, 1, 1, 1, 1, 1, 2, 2, 2, 2]]), torch.tensor([[0, 0, 1, 1, 1, 1, 2, 2, 2, 2]])
    assert sampling.repetition_aware(only, full, rare, first, second, 10, 0.2).tolist() == [0]
    assert sampling.repetition_aware(only, full, often, first, second, 10, 0.2).tolist() == [2]
    # What lies before the window does not count.
    old = torch.cat([torch.zeros(1, 50, dtype=torch.long), rare], dim=1)
    assert sampling.repetition_aware(only, full, old, first, second, 10, 0.2).tolist() == [0]
    # In the composition: top-p leaves one token, which nothing else could change.
    peaked = torch.tensor([[3.0, 0.0, 0.0]])
    chosen = Sampling(ar_temp=1.0, top_p=0.5, repetition_window=4, repetition_ratio=0.5)
    loop = torch.zeros(1, 4, dtype=torch.long)
    assert sampling.sample(peaked, chosen, first, second, loop)[0].tolist() == [2]
    assert sampling.sample(peaked, chosen, first, second, loop + 1)[0].tolist() == [0]


def test_sample_applies_the_steps_in_order() -> None:
    logits = random_logits(8)
    previous = torch.randint(0, 50, (8, 12), generator=torch.Generator().manual_seed(2))
    u = uniforms(torch.arange(8), 1)[:, 0]
    chosen = Sampling(
        ar_temp=0.8, min_ar_temp=0.3, top_k=9, top_p=0.8, repetition_penalty=1.7, repetition_penalty_decay=0.5,
        length_penalty=0.4,
    )  # fmt: skip
    x = sampling.repetition_penalty(logits, previous, 1.7, 0.5)
    x = sampling.length_penalty(x, 12, 0.4, stop=49)
    x = sampling.top_p(sampling.top_k(x, 9), 0.8)
    x = sampling.tempered(x, 0.8, 0.3)
    assert torch.equal(sampling.sample(logits, chosen, u, None, previous, 49)[0], sampling.categorical(x, u))
    greedy = Sampling(ar_temp=0, repetition_penalty=1.7)
    wanted = sampling.repetition_penalty(logits, previous, 1.7).argmax(1)
    assert torch.equal(sampling.sample(logits, greedy, u, None, previous, 49)[0], wanted)


def test_nar_sampling_has_no_memory() -> None:
    both = Sampling(
        nar_temp=0.3, min_nar_temp=0.1, top_k=5, repetition_penalty=2, length_penalty=1, mirostat_tau=3, best_of=4
    )
    assert both.for_nar() == Sampling(ar_temp=0.3, min_ar_temp=0.1, nar_temp=0.3, min_nar_temp=0.1, top_k=5)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--ar-temp", -0.1), ("--ar-temp", math.nan), ("--ar-temp", math.inf), ("--nar-temp", -1.0),
        ("--min-ar-temp", 1.5), ("--min-nar-temp", 1.5), ("--top-p", 1.5), ("--top-p", 0.0), ("--top-p", -0.5),
        ("--top-k", -1), ("--repetition-penalty", 0.0), ("--repetition-penalty-decay", -1.0),
        ("--length-penalty", math.inf), ("--beam-width", -1), ("--mirostat-tau", -1.0), ("--mirostat-eta", 0.0),
        ("--best-of", 0), ("--max-ar-steps", 0), ("--max-nar-levels", -1), ("--repetition-window", -1),
        ("--repetition-ratio", 0.0),
    ],
)  # fmt: skip
def test_a_value_that_will_not_do_names_its_flag(flag: str, value: float) -> None:
    with pytest.raises(UsageError) as error:
        Sampling(**{flag[2:].replace("-", "_"): value})
    assert flag in str(error.value) and str(value) in str(error.value) and error.value.remedy


def test_one_way_of_choosing_at_a_time() -> None:
    with pytest.raises(UsageError, match="--beam-width and --mirostat-tau"):
        Sampling(beam_width=4, mirostat_tau=3.0)
