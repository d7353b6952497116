"""fit, validate, test and predict through the real command line."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from tests.processes import await_file
from vocolab.cli import main

ROOT = Path(__file__).parents[2]
LAST = Path("runs/tiny/checkpoints/last.ckpt")


def fit(*args: str) -> int:
    return main(["fit", "-c", "tiny.yaml", *args])


def last_line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def saved(path: Path = LAST) -> dict:
    return torch.load(path, weights_only=True)


def steps(run: Path = Path("runs/tiny")) -> list[int]:
    with open(run / "metrics.csv", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_a_run_and_its_folder(recipe, capfd):
    assert fit() == 0
    assert capfd.readouterr().out == ""  # progress goes to standard error
    run = Path("runs/tiny")
    assert {p.name for p in run.iterdir()} == {"README.md", "config.yaml", "metrics.csv", "checkpoints", "tensorboard"}
    names = {p.name for p in (run / "checkpoints").iterdir()}
    assert names == {"last.ckpt", "best.ckpt", "step=00000002.ckpt", "step=00000004.ckpt"}
    assert saved()["global_step"] == 4 and "vocolab" in saved()
    assert steps() == [0, 1, 2, 3]
    with open(run / "metrics.csv", newline="") as file:
        assert sum(bool(row["val/mel_l1"]) for row in csv.DictReader(file)) == 2

    # Everything is in config.yaml, and it repeats the run.
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["batches"]["init_args"]["size"] == 2 and config["ckpt_path"] is None
    assert main(["fit", "-c", "runs/tiny/config.yaml", "--trainer.default_root_dir", "runs/again"]) == 0
    again = saved(Path("runs/again/checkpoints/last.ckpt"))["state_dict"]
    assert all(torch.equal(again[key], value) for key, value in saved()["state_dict"].items())


def test_a_run_is_not_written_over(recipe, capsys):
    assert fit() == 0
    before = LAST.read_bytes()
    assert fit() == 1
    assert last_line(capsys) == (
        "vocolab: error: the folder holds a run: runs/tiny: "
        "go on with --ckpt_path last, or choose another --trainer.default_root_dir"
    )
    # Nor by a run that begins with another run's weights.
    LAST.rename("other.ckpt")
    assert fit("--ckpt_path", "other.ckpt") == 1
    assert "the folder holds a run" in last_line(capsys)
    assert Path("other.ckpt").read_bytes() == before


def test_resuming_is_as_if_never_stopped(recipe):
    assert fit("--trainer.default_root_dir", "runs/whole") == 0
    assert fit("--trainer.max_steps", "2") == 0
    assert fit("--ckpt_path", "last") == 0
    whole, resumed = saved(Path("runs/whole/checkpoints/last.ckpt")), saved()
    assert whole["global_step"] == resumed["global_step"] == 4
    assert all(torch.equal(resumed["state_dict"][key], value) for key, value in whole["state_dict"].items())
    assert steps() == [0, 1, 2, 3]
    assert not list(Path("runs/tiny").glob("version_*")) and not Path("lightning_logs").exists()
    assert yaml.safe_load(Path("runs/tiny/config.yaml").read_text())["trainer"]["max_steps"] == 4


def test_a_checkpoint_does_not_change_the_recipe(recipe):
    """Lightning's own CLI takes the model's arguments from a checkpoint FILE, over those of the command line."""
    assert fit("--trainer.max_steps", "2") == 0
    flags = ["--ckpt_path", str(LAST), "--model.losses", '[{"class_path": "MelLoss", "init_args": {"weight": 3.0}}]']
    assert fit(*flags) == 0
    config = yaml.safe_load(Path("runs/tiny/config.yaml").read_text())
    assert config["model"]["init_args"]["losses"][0]["init_args"]["weight"] == 3.0
    assert saved()["global_step"] == 4


def test_nothing_to_resume(recipe, capsys):
    assert fit("--ckpt_path", "last") == 1
    assert last_line(capsys) == (
        f"vocolab: error: no checkpoint to start from: {LAST}: "
        "name the run's folder with --trainer.default_root_dir, or a checkpoint with --ckpt_path FILE"
    )
    assert not LAST.parents[1].exists()
    assert fit("--ckpt_path", "none.ckpt") == 1
    assert last_line(capsys) == (
        "vocolab: error: no checkpoint to start from: none.ckpt: give last, best or the path of a checkpoint"
    )


class Pickled:
    def __reduce__(self):
        return print, ("run by a pickle",)


@pytest.mark.parametrize("content", ["text", "pickle", "tensor"])
def test_a_checkpoint_that_is_none(content, recipe, capsys):
    if content == "text":
        Path("bad.ckpt").write_text("no checkpoint")
    else:
        torch.save({"pickle": Pickled(), "tensor": torch.zeros(2)}[content], "bad.ckpt")
    assert fit("--ckpt_path", "bad.ckpt") == 1
    out, err = capsys.readouterr()
    assert "run by a pickle" not in out + err
    assert err.splitlines()[-1].startswith("vocolab: error: ") and ": bad.ckpt: " in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_checkpoint_of_other_sizes(recipe, capsys):
    assert fit("--trainer.max_steps", "2") == 0
    assert fit("--ckpt_path", "last", "--model.vocoder.dim", "12") == 1
    line = last_line(capsys)
    assert line.startswith("vocolab: error: the checkpoint does not fit the model (size mismatch for vocoder.")
    assert line.endswith(f": {LAST}: use the recipe it was trained with, as -c RUN/config.yaml")


def test_evaluation_of_a_folder_that_deepspeed_wrote(recipe, capsys):
    Path("runs/tiny/checkpoints/last.ckpt").mkdir(parents=True)
    Path("runs/tiny/checkpoints/last.ckpt/latest").write_text("checkpoint")
    assert main(["validate", "-c", "tiny.yaml"]) == 1
    line = last_line(capsys)
    assert line.startswith(f"vocolab: error: a folder that DeepSpeed wrote: {LAST}: ") and "vocolab export" in line


@pytest.mark.parametrize("flag", ["--trainer.gradient_clip_val=1", "--trainer.accumulate_grad_batches=2"])
def test_what_manual_optimisation_ignores_is_refused(flag, recipe, capsys):
    assert fit(flag) == 2
    line = last_line(capsys)
    assert line.startswith("vocolab: error: VocoderTask steps its own optimizers and does not ")
    assert f": {flag[2:].split('=')[0]}: " in line and not Path("runs").exists()


def test_parameters_that_get_no_gradient_under_ddp_are_a_line(recipe, monkeypatch, capsys):
    def fails(*_, **__):
        raise RuntimeError("It looks like ... enable `find_unused_parameters=True`")

    monkeypatch.setattr("lightning.pytorch.Trainer.fit", fails)
    assert fit() == 2
    what = "an update left parameters without a gradient"
    assert last_line(capsys) == f"vocolab: error: {what}: trainer.strategy: use --trainer configs/trainer/ddp.yaml"


def test_evaluation_prints_figures(recipe, capsys):
    assert main(["validate", "-c", "tiny.yaml"]) == 1
    assert (
        last_line(capsys)
        == "vocolab: error: no checkpoint: runs/tiny/checkpoints: train first, or name one with --ckpt_path"
    )
    assert fit() == 0
    capsys.readouterr()
    kept = {path: path.read_bytes() for path in Path("runs/tiny").rglob("*") if path.is_file()}
    assert main(["validate", "-c", "runs/tiny/config.yaml"]) == 0
    best = json.loads(capsys.readouterr().out)
    with open("runs/tiny/metrics.csv", newline="") as file:
        logged = [float(row["val/mel_l1"]) for row in csv.DictReader(file) if row["val/mel_l1"]]
    assert best["val/mel_l1"] == pytest.approx(min(logged), abs=1e-5)
    first = ["--ckpt_path", "runs/tiny/checkpoints/step=00000002.ckpt"]
    assert main(["validate", "-c", "runs/tiny/config.yaml", *first]) == 0
    assert json.loads(capsys.readouterr().out)["val/mel_l1"] == pytest.approx(logged[0], abs=1e-5)
    assert {path: path.read_bytes() for path in Path("runs/tiny").rglob("*") if path.is_file()} == kept


def test_a_split_that_is_not_there(recipe, capsys):
    assert fit("--trainer.max_steps", "2") == 0
    assert main(["test", "-c", "runs/tiny/config.yaml"]) == 1
    assert "Traceback" not in (line := last_line(capsys)) and line.startswith("vocolab: error: ")


def test_predict_writes_what_it_says(recipe, corpus):
    assert fit("--trainer.max_steps", "2") == 0
    split = ["--data.corpus.test", "[dev-clean]", "--data.corpus.val", "[]", "--data.shards", "other"]
    assert main(["predict", "-c", "runs/tiny/config.yaml", *split]) == 0
    written = sorted(Path("runs/tiny/predictions").iterdir())
    assert len(written) == len(list(corpus.rglob("dev-clean/**/*.opus"))) == 2
    for path in written:
        (source,) = corpus.rglob(f"dev-clean/**/{path.stem}.opus")
        assert 0 <= soundfile.info(source).frames - soundfile.info(path).frames < 320


def test_early_stopping_is_one_line(recipe):
    """As the page says it, under the recipe's callbacks."""
    line = "- {class_path: EarlyStopping, init_args: {monitor: val/mel_l1, patience: 1, min_delta: 1000}}"
    text = Path("tiny.yaml").read_text()
    assert "  callbacks: [Timing]" in text
    Path("tiny.yaml").write_text(text.replace("  callbacks: [Timing]", f"  callbacks:\n  - Timing\n  {line}"))
    assert fit("--trainer.max_steps", "20") == 0
    assert saved()["global_step"] == 4  # nothing gains 1000: the second validation is the last


def test_wandb_offline_keeps_the_csv(recipe, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    samples = ["--trainer.callbacks+", "{class_path: Samples, init_args: {count: 1}}"]
    assert fit("--trainer.logger", str(ROOT / "configs/logger/wandb.yaml"), *samples) == 0
    assert steps() == [0, 1, 2, 3]
    (log,) = Path("runs/tiny/wandb").glob("offline-run-*/*.wandb")
    media = {path.suffix for path in log.parent.rglob("media/**/*") if path.is_file()}
    assert media == {".wav", ".png", ".json"}  # tables are JSON
    for _ in range(600):  # its own process writes the file, a moment later
        if b"train/loss" in log.read_bytes():
            break
        time.sleep(0.1)
    assert b"train/loss" in log.read_bytes() and b"data/train_seconds" in log.read_bytes()


def test_prepare_builds_nothing_else(recipe, shards, capsys):
    """An absent GPU or an absent logger is no matter to preparing."""
    flags = ["--trainer.accelerator", "gpu", "--trainer.devices", "7", "--trainer.logger", "WandbLogger"]
    flags += ["--data.shards", "fresh", "--workers", "1"]
    assert main(["prepare", "-c", "tiny.yaml", *flags]) == 0
    assert capsys.readouterr().out == ""
    assert (Path("fresh") / "manifest.json").is_file() and not Path("runs").exists()
    assert main(["prepare", "-c", "tiny.yaml", *flags, "--verify"]) == 0
    assert re.search(r"^verified [0-9.]+ MB in fresh$", capsys.readouterr().err, re.MULTILINE)
    shard = next(Path("fresh").glob("train/*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert main(["prepare", "-c", "tiny.yaml", *flags]) == 0
    assert main(["prepare", "-c", "tiny.yaml", *flags, "--verify"]) == 1
    assert f"damaged: its sha256 is not the manifest's: {shard}: move the folder away" in capsys.readouterr().err


def start(*args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "vocolab", *args], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("signum, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_keeps_its_last_step(signum, status, recipe):
    flags = [
        "--trainer.max_steps",
        "100000",
        "--checkpoint.every_n_train_steps",
        "3",
        "--trainer.val_check_interval",
        "50000",
    ]
    process = start("fit", "-c", "tiny.yaml", *flags)
    await_file(LAST, process)
    process.send_signal(signum)
    _, err = process.communicate(timeout=300)
    assert process.returncode == status
    assert "Traceback" not in err
    assert saved()["global_step"] == max(steps()) + 1


def test_two_processes(recipe):
    """Two ranks on gloo, started by Lightning from the command line."""
    trainer = [
        "--trainer",
        str(ROOT / "configs/trainer/cpu.yaml"),
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
    ]
    discriminator = '{"class_path": "MultiPeriodDiscriminator", "init_args": {"periods": [2], "channels": [4, 4]}}'
    process = start(
        "fit", "-c", "tiny.yaml", *trainer, "--model.discriminator", discriminator, "--data.shards", "fresh"
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == "" and "Traceback" not in err
    assert saved()["global_step"] == 4 and steps() == [0, 1, 2, 3]


def test_optimizer_arguments_of_a_resume_count(recipe, caplog):
    """Of a GAN's two optimizers; and where nothing changed, nothing is said."""
    discriminator = '{"class_path": "MultiPeriodDiscriminator", "init_args": {"periods": [2], "channels": [4, 4]}}'
    flags = ["--model.discriminator", discriminator]
    assert fit(*flags, "--trainer.max_steps=2") == 0
    assert fit(*flags, "--ckpt_path=last", "--trainer.max_steps=3") == 0
    assert "optimizer:" not in caplog.text
    assert fit(*flags, "--ckpt_path=last", "--model.optimizer.lr=1e-5", "--model.optimizer.betas=[0.7, 0.9]") == 0
    (said,) = [record.getMessage() for record in caplog.records if "optimizer:" in record.getMessage()]
    assert said == "optimizer: betas (0.9, 0.999) -> (0.7, 0.9), lr 0.0002 -> 1e-05 (from update 3 on)"
    groups = [state["param_groups"][0] for state in saved()["optimizer_states"]]
    assert [(group["lr"], tuple(group["betas"])) for group in groups] == [(1e-5, (0.7, 0.9))] * 2


def test_tensorboard_that_is_not_installed_is_a_line(recipe, monkeypatch, caplog):
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    with caplog.at_level("INFO"):
        assert fit("--trainer.max_steps=2") == 0
    assert "TensorBoard is not installed: the figures go into metrics.csv alone" in caplog.text
    assert steps() == [0, 1] and not Path("runs/tiny/tensorboard").exists()
