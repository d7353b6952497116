import math

import pytest

from vocolab.tasks import Constant, InverseSquareRoot, StepDecay, WarmupCosine


def test_step_decay_multiplies_once_every_so_many_updates():
    schedule = StepDecay(gamma=0.999, every=1784)
    assert schedule(0) == schedule(1783) == 1
    assert schedule(1784) == 0.999
    assert schedule(1784 * 1000 + 5) == pytest.approx(0.999**1000)


def test_warmup_cosine_rises_falls_and_stays():
    schedule = WarmupCosine(total=110, warmup=10, floor=0.1)
    assert [schedule(step) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]
    assert schedule(60) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert schedule(110) == schedule(10_000) == pytest.approx(0.1)
    assert Constant()(12345) == 1


def test_inverse_square_root_meets_its_warm_up_at_the_base_rate():
    schedule = InverseSquareRoot(warmup=100)
    assert [schedule(step) for step in (0, 49, 99)] == [0.01, 0.5, 1.0]
    assert schedule(399) == pytest.approx(0.5) and schedule(9999) == pytest.approx(0.1)
    factors = [schedule(step) for step in range(1000)]
    assert factors.index(max(factors)) == 99
    assert InverseSquareRoot(warmup=0)(0) == 1
