"""The quickstarts as `make` runs them: ten and thirty minutes on one core, so outside the default suite."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from vocolab.cli import main

ROOT = Path(__file__).parents[1]


def make(target: str, folder: Path) -> None:
    """Run the `vocolab` commands of a target of the Makefile in `folder`."""
    shutil.copy(ROOT / "pyproject.toml", folder)  # the Makefile installs what it names
    command = ["make", "--dry-run", "-f", str(ROOT / "Makefile"), target]
    lines = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    ours = [words[1:] for words in map(shlex.split, lines) if words[0].endswith("/vocolab")]
    assert len(ours) >= 2
    for words in ours:
        assert main(words) == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_quickstart_reaches_what_it_promises(tmp_path, monkeypatch):
    """What needs no recogniser to measure; `benchmarks/quickstart_quality.py` holds the rest to its limits."""
    monkeypatch.chdir(tmp_path)
    make("quickstart", tmp_path)
    report = json.loads((tmp_path / "runs" / "quickstart" / "report.json").read_text())
    assert report["updates"] == 3300 and report["utterances"] == 32
    assert report["stoi"] >= 0.85
    assert report["mel_l1"] <= 0.47


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_quickstart_of_speech_from_text(tmp_path, monkeypatch):
    """What needs no recogniser to measure; `benchmarks/quickstart_tts_quality.py` holds the rest to its limits."""
    monkeypatch.chdir(tmp_path)
    make("quickstart-tts", tmp_path)
    run = tmp_path / "runs" / "quickstart-tts"
    best = tmp_path / "runs" / "quickstart-tts-aligned" / "checkpoints" / "last.ckpt"
    assert main(["report", str(run), "--limit", "20", "--checkpoint", str(best)]) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["updates"] == 800 and report["train_seconds"] > 0 and report["tokens_per_s"] > 0
    assert len(report["sentences"]) == report["stopped"] == len(list(run.glob("spoken-*.wav"))) == 20
    ended = [abs(s["seconds"] / s["recorded_seconds"] - 1) <= 0.25 for s in report["sentences"]]
    assert sum(ended) >= 17
