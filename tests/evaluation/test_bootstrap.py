"""The intervals, against the normal ones where those are known."""

from __future__ import annotations

import numpy as np
import pytest

from vocolab.evaluation.bootstrap import interval


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = interval(lambda chosen: values[chosen].mean(), 400)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_the_seed_decides_it_and_one_utterance_has_none():
    values = np.arange(10.0)
    assert interval(lambda chosen: values[chosen].mean(), 10, 3) == interval(lambda c: values[c].mean(), 10, 3)
    assert interval(lambda chosen: values[chosen].mean(), 10, 3) != interval(lambda c: values[c].mean(), 10, 4)
    assert interval(lambda chosen: 1.0, 1) is None
