"""Which metrics are measured, and what is said of those that cannot be."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from vocolab.errors import VocolabError
from vocolab.metrics.choice import all_metrics, choose

PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"


def test_a_missing_package_leaves_its_metrics_out(monkeypatch):
    for package in ("pesq", "jiwer"):
        monkeypatch.setitem(sys.modules, package, None)
    chosen, left_out = choose(["stoi", "pesq", "cer", "wer"], all_metrics())
    assert [metric.name for metric in chosen] == ["stoi"]
    remedy = "pip install 'vocolab[metrics]'"
    assert left_out["pesq"] == f"the package pesq is missing: pesq: {remedy}"
    assert left_out["cer"] == f"the package jiwer is missing: cer: {remedy}" and "wer" in left_out
    with pytest.raises(VocolabError, match="no metric can be measured .pesq: the package pesq is missing"):
        choose(["pesq"], all_metrics())


def test_a_package_that_lacks_another_is_left_out_too(monkeypatch):
    pytest.importorskip("resemblyzer")
    for name in [name for name in sys.modules if name.split(".")[0] in ("resemblyzer", "webrtcvad")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    chosen, left_out = choose(["stoi", "similarity"], all_metrics())
    assert [metric.name for metric in chosen] == ["stoi"]
    assert "webrtcvad" in left_out["similarity"] and left_out["similarity"].endswith("'vocolab[metrics]'")


def test_every_metric_is_described_and_on_the_page():
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (up|down) \|$", PAGE.read_text(), re.M))
    metrics = all_metrics()
    assert len(metrics) > 15 and rows == {metric.name: metric.better for metric in metrics}
    assert all(metric.title and metric.source for metric in metrics)
