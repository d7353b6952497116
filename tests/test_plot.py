"""Curves of runs: which metrics a key means, and the picture."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from vocolab.errors import UsageError, VocolabError
from vocolab.plot import curves, draw, matching, plot, read_run, running_mean


def write(run: Path, rows: list[dict]) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(run / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return run


def history(run: Path, levels: int = 3, steps: int = 20) -> Path:
    """Training rows each step; `tokens_processed` and validation in rows of their own, every fifth."""
    rows = []
    for step in range(1, steps + 1):
        loss = {f"train/loss_level_{n}": 7 - step / (10 + n) for n in range(levels)}
        rows.append({"step": step, "epoch": 0, "train/loss": 6 - step / 10, **loss, "train/acc_level_0": step / steps})
        if step % 5 == 0:
            rows.append({"step": step, "tokens_processed": 100.0 * step, "val/loss": 6.0})
    return write(run, rows)


def test_what_a_key_means():
    names = [
        "step",
        "train/loss",
        "train/loss_level_10",
        "train/loss_level_2",
        "val/loss",
        "train/loss_x",
        "loss_level_1",
    ]
    assert matching("loss", names) == ["train/loss", "train/loss_level_2", "train/loss_level_10"]
    assert matching("val/loss", names) == ["val/loss"] and matching("train/loss", names) == ["train/loss"]
    assert matching("los", names) == [] and matching("l.ss", names) == []


def test_curves_of_two_runs(tmp_path):
    runs = [history(tmp_path / "a"), history(tmp_path / "b", levels=2)]
    found = curves(runs, "step", ["loss", "val/loss"])
    assert [(c.run, c.name, c.level) for c in found["loss"]] == [
        ("a", "train/loss", None),
        *(("a", f"train/loss_level_{n}", n) for n in range(3)),
        ("b", "train/loss", None),
        *(("b", f"train/loss_level_{n}", n) for n in range(2)),
    ]
    first = found["loss"][0]
    assert first.x.tolist() == list(range(1, 21)) and first.y[0] == pytest.approx(5.9)
    assert found["val/loss"][1].x.tolist() == [5, 10, 15, 20]


def test_another_x(tmp_path):
    """A loss between two rows of `tokens_processed` stands between them."""
    curve = curves([history(tmp_path / "a")], "tokens_processed", ["train/loss"])["train/loss"][0]
    assert curve.x[4] == 500 and curve.x[6] == 700 and curve.x[19] == 2000
    assert curves([tmp_path / "a"], "loss", ["val/loss"])["val/loss"][0].x.tolist() == pytest.approx([5.5, 5, 4.5, 4])


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [history(tmp_path / "old" / "retnet"), history(tmp_path / "new" / "retnet")]
    assert {c.run for c in curves(runs, "step", ["loss"])["loss"]} == {"old/retnet", "new/retnet"}
    assert {c.run for c in curves([runs[0] / "metrics.csv"], "step", ["loss"])["loss"]} == {"retnet"}
    with pytest.raises(UsageError, match="a run is named twice"):
        curves([runs[0], runs[0] / "metrics.csv"], "step", ["loss"])


def test_keys_that_no_run_has(tmp_path):
    run = history(tmp_path / "a")
    with pytest.raises(UsageError, match="no metric 'los': --ys: near: train/loss"):
        curves([run], "step", ["los"])
    with pytest.raises(UsageError, match="no metric 'tokens': --xs: near: tokens_processed"):
        curves([run], "tokens", ["loss"])
    with pytest.raises(UsageError, match="no metric 'xyz': --ys: one of epoch, step, tokens_processed, train/acc"):
        curves([run], "step", ["xyz"])
    other = write(tmp_path / "b", [{"step": 1, "train/loss": 1.0}])
    with pytest.raises(VocolabError, match="run without tokens_processed: b: choose another --xs"):
        curves([run, other], "tokens_processed", ["loss"])


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "no metrics.csv in the run: .*: give the folder of a run"),
        ("", "metrics.csv is empty"),
        ("step,train/loss\n", "metrics.csv is empty"),
        ("epoch,train/loss\n1,2\n", "not a run's metrics"),
        ("step,train/loss\n1,abc\n", "not a run's metrics"),
    ],
)
def test_runs_without_metrics(tmp_path, text, message):
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(VocolabError, match=message):
        read_run(tmp_path)


def test_running_mean():
    y = np.array([1.0, 2, 3, 4, 9])
    assert running_mean(y, 3).tolist() == pytest.approx([1.5, 2, 3, 16 / 3, 6.5])
    assert running_mean(y, 1) is y
    noise = np.random.default_rng(0).normal(size=1000)
    assert running_mean(noise, 25).std() < 0.3 and running_mean(np.ones(50), 7).tolist() == pytest.approx([1] * 50)


def test_the_picture(tmp_path, monkeypatch):
    """Two runs of eight levels: eight colours and two line styles, and a legend of as many entries, not of 18."""
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self) or save(self, *a, **k))
    runs = [history(tmp_path / name, levels=8, steps=150) for name in ("a", "b")]
    plot(runs, "tokens_processed", ["loss", "acc"], tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    loss, acc = drawn[0].axes
    assert len(loss.lines) == 18 and len(acc.lines) == 4  # few curves: their points faintly behind
    assert (
        len({line.get_color() for line in loss.lines}) == 9 and len({line.get_linestyle() for line in loss.lines}) == 2
    )
    labels = [text.get_text() for text in loss.get_legend().get_texts()]
    assert labels == ["all levels", *(f"level {n}" for n in range(8)), " ", "a", "b"]
    assert (loss.get_ylabel(), acc.get_xlabel()) == ("loss", "tokens processed   (curves: running means)")
    right = loss.get_window_extent().x1
    assert (
        loss.get_legend().get_window_extent().x0 >= right
        and loss.get_legend().get_window_extent().x1 <= drawn[0].bbox.x1
    )
    with pytest.raises(VocolabError, match="output exists"):
        plot(runs, "step", ["loss"], tmp_path / "f.png")


def test_a_figure_for_a_notebook(tmp_path):
    figure = draw([history(tmp_path / "a")], "step", ["loss", "val/loss"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "val/loss"] and figure.axes[1].get_xlabel() == "step"
    assert [len(axes.lines) for axes in figure.axes] == [4, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "nothing is written"
