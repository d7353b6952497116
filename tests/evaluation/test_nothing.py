"""A language model that ends at once: nothing is said, which is measured as far as it can be."""

from __future__ import annotations

import torch

from vocolab.evaluation import Made, Sample, Subject, evaluate
from vocolab.metrics import STOI, MelL1
from vocolab.metrics.timing import DurationRatio, Ended, RealTimeFactor, Stopped


def test_nothing_said_is_not_in_time(speech_file, tmp_path):
    empty = Made(torch.zeros(0), 16000, 0.1, stopped=True)
    subject = Subject([Sample("a", lambda: empty, "speech", reference=speech_file)], 16000, {})
    metrics = [STOI(), MelL1(), DurationRatio(), RealTimeFactor(), Stopped(), Ended()]
    found = evaluate(subject, metrics, tmp_path / "out")
    assert {name: figure["value"] for name, figure in found["metrics"].items()} == {"stopped": 1, "ended": 0}
    assert not found["failed"] and (tmp_path / "out" / "index.html").exists()
