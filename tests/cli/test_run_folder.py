"""The folder of a run: named in any spelling, written by one training at a time, moved, copied."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.test_train import LAST, fit, last_line, saved, start, steps
from tests.processes import await_file
from vocolab.cli import main


@pytest.fixture
def home(work, monkeypatch) -> Path:
    """An empty home folder beside the working directory."""
    (work / "home").mkdir()
    monkeypatch.setenv("HOME", str(work / "home"))
    monkeypatch.setenv("VOCOLAB_TEST_PLACE", str(work / "home" / "place"))
    return work / "home"


SPELLINGS = {
    "~/r": "r",
    "~/r/": "r",
    "~//a/./r": "a/r",
    "$VOCOLAB_TEST_PLACE/r": "place/r",
    "${oc.env:VOCOLAB_TEST_PLACE}": "place",
}


@pytest.mark.parametrize("spelling, folder", SPELLINGS.items())
def test_a_run_is_wholly_where_its_name_says(spelling, folder, recipe, home):
    """By flag, resumed in the same spelling and in another."""
    assert fit(f"--trainer.default_root_dir={spelling}", "--trainer.max_steps=2") == 0
    run = home / folder
    assert {p.name for p in run.iterdir()} == {"README.md", "config.yaml", "metrics.csv", "checkpoints", "tensorboard"}
    assert not any("~" in p.name or "$" in p.name for p in Path().iterdir()) and not Path("runs").exists()
    again = spelling if spelling != "~/r/" else os.path.relpath(run) + "/"
    assert fit(f"--trainer.default_root_dir={again}", "--ckpt_path", "last") == 0
    assert saved(run / "checkpoints/last.ckpt")["global_step"] == 4 and steps(run) == [0, 1, 2, 3]


def test_paths_in_every_place_are_read_alike(recipe, home, corpus, shards, capsys):
    """Recipe, slot file, checkpoint and the files of other commands."""
    (home / "corpus").symlink_to(corpus)
    (home / "shards").symlink_to(shards)
    text = (
        recipe.read_text()
        .replace(f"root: {corpus}", "root: ~/corpus")
        .replace(f"shards: {shards}", "shards: ~/shards/")
    )
    text = text.replace("trainer:\n", "trainer:\n  default_root_dir: ~/first\n", 1).replace("slots/", f"{home}/slots/")
    Path("slots").rename(home / "slots")
    (home / "tiny.yaml").write_text(text)
    assert main(["fit", "--config=~/tiny.yaml", "--trainer.max_steps=2"]) == 0
    flags = ["--config=~/tiny.yaml", "--model.vocoder=~/slots/vocoder.yaml", "--trainer.default_root_dir=~/second"]
    assert main(["fit", *flags, "--model.initialize_from=~/first/checkpoints/last.ckpt"]) == 0
    assert main(["fit", *flags, "--ckpt_path=~/second/checkpoints/last.ckpt", "--trainer.max_steps=6"]) == 0
    assert saved(home / "second/checkpoints/last.ckpt")["global_step"] == 6
    assert main(["export", "~/first/checkpoints/last.ckpt", "-o", "~/out/model.safetensors"]) == 0
    assert main(["plot", "~/first", "~/second", "-o", "~/out/plot.png"]) == 0
    assert {p.name for p in (home / "out").iterdir()} == {"model.safetensors", "plot.png"}
    assert not Path("~").exists() and not Path("runs").exists()
    config = yaml.safe_load((home / "first/config.yaml").read_text())
    assert config["trainer"]["default_root_dir"] == str(home / "first")
    assert config["data"]["corpus"]["init_args"]["root"] == str(home / "corpus")


REFUSED = {
    "~nobody-of-this-name/r": "no user 'nobody-of-this-name': trainer.default_root_dir ~nobody-of-this-name/r: write the path without ~",
    "$VOCOLAB_UNSET/r": "$VOCOLAB_UNSET is not set: trainer.default_root_dir $VOCOLAB_UNSET/r: set the variable, or write the path without it",
}  # fmt: skip


@pytest.mark.parametrize("spelling, line", REFUSED.items())
def test_a_name_that_stands_for_nothing_is_refused(spelling, line, recipe, capsys):
    assert fit(f"--trainer.default_root_dir={spelling}") == 2
    assert last_line(capsys) == f"vocolab: error: {line}"
    assert {p.name for p in Path().iterdir()} == {"slots", "tiny.yaml"}


def test_one_training_at_a_time(recipe, capsys):
    forever = ["--trainer.max_steps=100000", "--trainer.val_check_interval=50000", "--checkpoint.every_n_train_steps=3"]
    process = start("fit", "-c", "tiny.yaml", *forever)
    try:
        await_file(LAST, process)
        assert fit("--ckpt_path", "last") == 1
        line = last_line(capsys)
        assert line.startswith(f"vocolab: error: another training is at work in this folder (process {process.pid} on ")
        assert line.endswith("): runs/tiny: wait for it to end, or choose another --trainer.default_root_dir")
        assert process.poll() is None
    finally:
        process.kill()
    process.communicate(timeout=300)
    # Killed, it leaves its files, and the lock is free.
    step = saved()["global_step"]
    assert fit("--ckpt_path", "last", f"--trainer.max_steps={step + 2}") == 0
    # Lightning logs an update after its checkpoint: killed between the two, the update has no row. All others have one.
    whole = list(range(step + 2))
    assert steps() in (whole, [*whole[: step - 1], *whole[step:]])
    assert not list(Path("runs/tiny").glob(".lock*"))


@pytest.mark.parametrize("recorded", ["absolute", "relative"])
def test_a_run_that_was_moved_goes_on_where_it_is(recorded, recipe, shards, monkeypatch, tmp_path_factory, capsys):
    """With its shards, which lay in the same place as seen from it; from another working directory."""
    shutil.copytree(shards, "shards")
    assert fit("--trainer.max_steps=2", "--data.shards=shards") == 0
    if recorded == "relative":  # as earlier versions wrote it
        config = Path("runs/tiny/config.yaml").read_text()
        here = str(Path().absolute())
        assert f"default_root_dir: {here}/runs/tiny\n" in config and f"shards: {here}/shards\n" in config
        Path("runs/tiny/config.yaml").write_text(config.replace(f"{here}/", ""))
    there = tmp_path_factory.mktemp("there")
    shutil.move("runs", there / "runs")
    shutil.move("shards", there / "shards")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    run = there / "runs/tiny"
    capsys.readouterr()
    assert main(["fit", "-c", str(run / "config.yaml"), "--ckpt_path", "last", "--trainer.max_steps=4"]) == 0
    assert f"the run is where its config.yaml lies: {run} (it was " in capsys.readouterr().err
    assert saved(run / "checkpoints/last.ckpt")["global_step"] == 4 and steps(run) == [0, 1, 2, 3]
    assert list(elsewhere.iterdir()) == []
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["trainer"]["default_root_dir"] == str(run) and config["data"]["shards"] == str(there / "shards")
    # And again, in peace.
    assert main(["fit", "-c", str(run / "config.yaml"), "--ckpt_path", "last", "--trainer.max_steps=6"]) == 0
    assert "the run is where" not in capsys.readouterr().err


def test_a_copied_run_leaves_the_first_alone(recipe, capsys):
    assert fit("--trainer.max_steps=2") == 0
    before = {p: p.read_bytes() for p in Path("runs/tiny").rglob("*") if p.is_file()}
    shutil.copytree("runs/tiny", "runs/copy")
    assert main(["fit", "-c", "runs/copy/config.yaml", "--ckpt_path", "last", "--trainer.max_steps=4"]) == 0
    assert saved(Path("runs/copy/checkpoints/last.ckpt"))["global_step"] == 4
    assert {p: p.read_bytes() for p in Path("runs/tiny").rglob("*") if p.is_file()} == before
    # A folder that is named on the command line is meant.
    flags = ["--trainer.default_root_dir", "runs/tiny", "--trainer.max_steps=3"]
    assert main(["fit", "-c", "runs/copy/config.yaml", "--ckpt_path", "last", *flags]) == 0
    assert saved()["global_step"] == 3
