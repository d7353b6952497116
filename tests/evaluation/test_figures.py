"""Which figures there are, and what is said of those that are not."""

from __future__ import annotations

from vocolab.evaluation.figures import figures
from vocolab.evaluation.results import nothing_measured, unmeasured_lines
from vocolab.evaluation.rows import Row
from vocolab.metrics import STOI
from vocolab.metrics.choice import all_metrics

METRICS = {metric.name: metric for metric in all_metrics()}
WHY = {"similarity_margin": "no voice was converted", "stoi": "there is no reference"}
ROWS = [
    Row("a", "resynthesis", {"stoi": [0.9, 1.0]}, {"similarity_margin": WHY["similarity_margin"]}),
    Row("b", "resynthesis", {}, WHY),
    Row("b-to-x", "conversion", {"similarity_margin": [0.3, 1.0]}, {"stoi": WHY["stoi"]}),
]


def test_a_metric_of_another_task_is_not_missed():
    found, unmeasured = figures(ROWS, [METRICS["similarity_margin"], STOI()], 0)
    assert found.keys() == {"stoi", "conversion_similarity_margin"}
    lines = unmeasured_lines({"metrics": found, "unmeasured": unmeasured})
    assert lines == [
        "stoi could not be measured on 1 of 2 utterances: there is no reference",
        "conversion_stoi could not be measured on 1 of 1 utterances: there is no reference",
    ]


def test_of_what_was_asked_for_it_is_said_that_no_task_has_it():
    found, unmeasured = figures(ROWS[:2], [METRICS["similarity_margin"]], 0)
    assert not found and unmeasured == {"similarity_margin": {"no voice was converted": 2}}


def test_why_nothing_could_be_measured():
    """A reason is said once."""
    row = Row("a", unmeasured={"stoi": "too short", "mcd": "silent", "pesq": "too short"})
    assert nothing_measured([row, row]) == (
        "nothing could be measured (stoi, pesq: too short; mcd: silent)",
        "a and 1 more",
        "give other speech",
    )
    assert nothing_measured([row, Row("b", numbers={"stoi": [1.0, 1.0]})]) is None


def test_what_is_there_already_is_not_measured_as_a_model_is():
    names = {name for name, metric in METRICS.items() if not metric.fits("")}
    assert names == {"similarity_margin", "stopped", "ended", "rtf"}
    assert all(metric.fits("speech") for name, metric in METRICS.items() if name != "similarity_margin")
