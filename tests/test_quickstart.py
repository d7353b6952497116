"""The quickstarts as a user runs them: ten minutes each, so outside the default suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vocolab.cli import main

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_quickstart_reaches_what_it_promises(tmp_path):
    """What needs no recogniser to measure; `benchmarks/quickstart_quality.py` holds the rest to its limits."""
    run = tmp_path / "run"
    flags = ["--trainer.default_root_dir", str(run), "--data.shards", str(tmp_path / "shards")]
    assert main(["fit", "-c", str(ROOT / "recipes/quickstart.yaml"), *flags]) == 0
    assert main(["report", str(run), "--source", "3001-10-0000", "--target", "3002"]) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["updates"] == 3300 and report["utterances"] == 32
    assert report["stoi"] >= 0.85
    assert report["mel_l1"] <= 0.47


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_quickstart_of_speech_from_text(tmp_path, monkeypatch):
    """What needs no recogniser to measure; `benchmarks/quickstart_tts_quality.py` holds the rest to its limits."""
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart-tts-vocoder", "quickstart-tts", "quickstart-tts-aligned"):
        assert main(["fit", "-c", str(ROOT / "recipes" / f"{name}.yaml")]) == 0
    run = tmp_path / "runs" / "quickstart-tts"
    best = tmp_path / "runs" / "quickstart-tts-aligned" / "checkpoints" / "last.ckpt"
    assert main(["report", str(run), "--limit", "20", "--checkpoint", str(best)]) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["updates"] == 800 and report["train_seconds"] > 0 and report["tokens_per_s"] > 0
    assert len(report["sentences"]) == report["stopped"] == len(list(run.glob("spoken-*.wav"))) == 20
    ended = [abs(s["seconds"] / s["recorded_seconds"] - 1) <= 0.25 for s in report["sentences"]]
    assert sum(ended) >= 17
