"""`vocolab plot`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_plot import history
from vocolab.cli import main


def test_a_picture_of_two_runs(work, capsys):
    history(Path("runs/a")), history(Path("runs/b"))
    command = ["plot", "runs/a", "runs/b", "--xs", "tokens_processed", "--ys", "loss", "acc", "-o", "f.png"]
    assert main(command) == 0
    assert capsys.readouterr().out == "f.png\n"
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 1
    assert capsys.readouterr().err.startswith("vocolab: error: output exists: f.png: ")
    assert main([*command, "--overwrite"]) == 0
    assert sorted(path.name for path in work.iterdir()) == ["f.png", "runs"]


@pytest.mark.parametrize(
    "args, status, line",
    [
        (["runs/a", "--ys", "los", "-o", "f.png"], 2, "no metric 'los': --ys: near: train/loss"),
        (["runs/a", "--xs", "stop", "-o", "f.png"], 2, "no metric 'stop': --xs: near: step"),
        (["none", "-o", "f.png"], 1, "no metrics.csv in the run: none: give the folder of a run that has trained"),
        (["empty", "-o", "f.png"], 1, "metrics.csv is empty: empty/metrics.csv: wait for the run's first line"),
        (["runs/a", "-o", "f.txt"], 2, "not a picture's name: f.txt: end it in .png, .pdf or .svg"),
        (["runs/a", "runs/a", "-o", "f.png"], 2, "a run is named twice: RUN: name each once"),
    ],
)
def test_what_is_refused(args, status, line, work, capsys):
    history(Path("runs/a"))
    Path("empty").mkdir()
    Path("empty/metrics.csv").touch()
    assert main(["plot", *args]) == status
    assert capsys.readouterr().err.startswith(f"vocolab: error: {line}")
    assert not list(work.glob("f.*"))
