"""Which metrics are measured, and what is said of those that cannot be."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from vocolab.errors import VocolabError
from vocolab.metrics.choice import all_metrics, choose, left_out_lines

PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"


def test_a_missing_package_leaves_its_metrics_out(monkeypatch):
    for package in ("pesq", "jiwer"):
        monkeypatch.setitem(sys.modules, package, None)
    chosen, left_out = choose(["stoi", "pesq", "cer", "wer"], all_metrics())
    assert [metric.name for metric in chosen] == ["stoi"]
    assert left_out_lines(left_out) == [
        "pesq, cer, wer left out: the package pesq is missing; the package jiwer is missing: "
        "pip install 'vocolab[metrics]'"
    ]
    with pytest.raises(VocolabError, match="no metric can be measured: --metrics: pesq left out: the package pesq is"):
        choose(["pesq"], all_metrics())


def test_each_remedy_has_its_line(monkeypatch):
    for package in ("pesq", "resemblyzer"):
        monkeypatch.setitem(sys.modules, package, None)
    _, left_out = choose(["stoi", "pesq", "similarity", "eer"], all_metrics())
    first, second = left_out_lines(left_out)
    assert first.startswith("pesq left out: ") and first.endswith(": pip install 'vocolab[metrics]'")
    assert second.startswith("similarity, eer left out: ") and "--no-deps resemblyzer" in second


def test_where_something_is_wrong_is_said(monkeypatch):
    def load(self):
        raise VocolabError("no such file", "weights.pt", "correct the path")

    monkeypatch.setattr("vocolab.metrics.voices.Resemblyzer.load", load)
    _, left_out = choose(["stoi", "similarity", "eer"], all_metrics())
    assert left_out_lines(left_out) == ["similarity, eer left out: no such file: weights.pt: correct the path"]


def test_a_package_that_lacks_another_is_left_out_too(monkeypatch):
    pytest.importorskip("resemblyzer")
    for name in [name for name in sys.modules if name.split(".")[0] in ("resemblyzer", "webrtcvad")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    chosen, left_out = choose(["stoi", "similarity"], all_metrics())
    assert [metric.name for metric in chosen] == ["stoi"]
    missing = left_out["similarity"]
    assert "webrtcvad" in missing.what and missing.remedy == "pip install 'vocolab[metrics]'"


def test_every_metric_is_described_and_on_the_page():
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (up|down) \|$", PAGE.read_text(), re.M))
    metrics = all_metrics()
    assert len(metrics) > 15 and rows == {metric.name: metric.better for metric in metrics}
    assert all(metric.title and metric.source for metric in metrics)
