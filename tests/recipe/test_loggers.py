"""metrics.csv is one file, however often a run is taken up."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from vocolab.recipe import Recipe, loggers
from vocolab.recipe.loggers import RunCSV

LOGGERS = Path(__file__).parents[2] / "configs" / "logger"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def test_columns_grow(tmp_path):
    logger = RunCSV(tmp_path)
    logger.log_metrics({"train/loss": 2.0}, 0)
    logger.log_metrics({"val/mel_l1": 0.5, "epoch": 0}, 0)
    logger.log_metrics({"train/loss": 1.5}, 1)
    assert rows(logger.path) == [
        {"step": "0", "train/loss": "2.0"},
        {"step": "0", "epoch": "0.0", "val/mel_l1": "0.5"},
        {"step": "1", "train/loss": "1.5"},
    ]
    assert logger.path.read_text().splitlines()[0] == "step,epoch,train/loss,val/mel_l1"


def test_a_resumed_run_goes_on_and_replaces_what_it_does_again(tmp_path):
    first = RunCSV(tmp_path)
    for step in range(6):
        first.log_metrics({"a": step}, step)
    second = RunCSV(tmp_path)  # killed after step 5, taken up from a checkpoint at step 3
    second.log_metrics({"a": 30.0, "b": 1.0}, 3)
    second.log_metrics({"a": 40.0}, 4)
    assert [(row["step"], row["a"]) for row in rows(second.path)] == [
        ("0", "0.0"), ("1", "1.0"), ("2", "2.0"), ("3", "30.0"), ("4", "40.0"),
    ]  # fmt: skip


def test_a_line_cut_short_is_dropped(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,a\n0,1.0\n\n,\nx")
    logger = RunCSV(tmp_path)
    logger.log_metrics({"a": 2.0}, 1)
    assert rows(logger.path) == [{"step": "0", "a": "1.0"}, {"step": "1", "a": "2.0"}]


def test_the_csv_is_kept_whatever_is_named(tmp_path):
    board = TensorBoardLogger(str(tmp_path))
    named = loggers.complete(board, tmp_path)
    assert [type(logger) for logger in named] == [RunCSV, TensorBoardLogger] and named[0].save_dir == str(tmp_path)
    own = RunCSV(tmp_path)
    assert loggers.complete([board, own], tmp_path) == [board, own]
    assert loggers.complete(False, tmp_path) == []
    assert [type(logger) for logger in loggers.complete(None, tmp_path)] == [RunCSV, TensorBoardLogger]


@pytest.mark.parametrize("name", sorted(p.stem for p in LOGGERS.glob("*.yaml")))
def test_logger_files_write_into_the_run(name, recipe, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    flags = ["--trainer.logger", str(LOGGERS / f"{name}.yaml"), "--trainer.default_root_dir", "runs/x"]
    loaded = Recipe(["-c", str(recipe), *flags])
    built = loaded.trainer.loggers
    assert sum(isinstance(logger, RunCSV) for logger in built) == 1
    assert {logger.save_dir for logger in built} == {"runs/x"}
    # What is saved of the recipe names no folder, so it can be run elsewhere.
    assert all(entry.init_args.save_dir in (None, "", ".") for entry in loaded.config.trainer.logger)
