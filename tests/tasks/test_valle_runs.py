"""Language models of real speech through the real command line."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import soundfile
import torch

import vocolab.pictures as pictures
import vocolab.recipe  # noqa: F401  (Lightning's log handler keeps the standard error it was imported under)
from tests.data.speech import librispeech
from tests.tasks.codes import codes_recipe
from tests.tasks.test_vocoder import assert_equal
from vocolab.checkpoints import load_lm
from vocolab.cli import main
from vocolab.data.shards.index import Index
from vocolab.lm import Split
from vocolab.parts import describe
from vocolab.vocoders import Vocos


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and a vocoder of its mels."""
    folder = tmp_path_factory.mktemp("codes")
    librispeech(folder / "corpus", speakers=2, each=3)
    torch.manual_seed(0)
    vocoder = Vocos(80, dim=16, blocks=1, hidden=16)
    card = {"format": 1, "kind": "vocoder", "vocoder": describe(vocoder), "encoder": None, "matching": {}}
    state = {f"vocoder.{name}": value for name, value in vocoder.state_dict().items()}
    torch.save({"state_dict": state, "vocolab": card | {"sample_rate": 16000, "hop": 320}}, folder / "vocoder.ckpt")
    return folder


@pytest.fixture
def recipe(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    text = codes_recipe(ground / "corpus", ground / "shards").replace(
        "iterations: 2}", f"iterations: 2, vocoder: {ground / 'vocoder.ckpt'}}}"
    )
    (tmp_path / "tiny.yaml").write_text(text)
    return tmp_path / "tiny.yaml"


def fit(*flags: str) -> int:
    return main(["fit", "-c", "tiny.yaml", *flags])


def saved(run: str, name: str = "last") -> dict:
    return torch.load(Path(run) / "checkpoints" / f"{name}.ckpt", weights_only=True)


def losses(run: str) -> list[tuple[str, str]]:
    with open(Path(run) / "metrics.csv", newline="") as file:
        return [
            (row["step"], row["train/loss"], row["tokens_processed"])
            for row in csv.DictReader(file)
            if row["train/loss"]
        ]


def figures(run: str) -> dict[str, float]:
    """The last value of each metric."""
    with open(Path(run) / "metrics.csv", newline="") as file:
        return {name: float(value) for row in csv.DictReader(file) for name, value in row.items() if value}


def test_six_steps_are_three_and_three_more_bit_for_bit(recipe):
    flags = ["--trainer.accumulate_grad_batches", "2", "--checkpoint.every_n_train_steps", "3"]
    flags += ["--trainer.callbacks", "[{class_path: EMA, init_args: {decay: 0.9, prefix: lm.}}]"]
    assert fit(*flags, "--trainer.max_steps", "6", "--trainer.default_root_dir", "whole") == 0
    assert fit(*flags, "--trainer.max_steps", "3", "--trainer.default_root_dir", "parts") == 0
    assert fit(*flags, "--trainer.max_steps", "6", "--trainer.default_root_dir", "parts", "--ckpt_path", "last") == 0
    whole, parts = saved("whole"), saved("parts")
    for key in ("state_dict", "ema_trained", "optimizer_states", "global_step", "epoch", "vocolab"):
        assert_equal(whole[key], parts[key], key)
    assert losses("whole") == losses("parts") and len(losses("whole")) == 6
    # Another learning rate counts in a resumed run.
    more = ["--trainer.max_steps", "7", "--trainer.default_root_dir", "parts", "--ckpt_path", "last"]
    assert fit(*flags, *more, "--model.optimizer.lr", "1e-5") == 0
    assert saved("parts")["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 1e-5


def test_a_run_from_speech_to_speech(recipe, ground, capfd, caplog, monkeypatch):
    """Its samples, its metrics, its checkpoint, and what predict makes of it."""
    monkeypatch.setitem(sys.modules, "jiwer", None)
    drawn = []
    monkeypatch.setattr(pictures, "alignment_axes", lambda axes, *what: drawn.append(what))
    measured = "{class_path: Evaluate, init_args: {metrics: [cer, duration_ratio, stopped, rtf, stoi]}}"
    samples = f"[{{class_path: SpokenSamples, init_args: {{count: 1}}}}, {measured}, Timing]"
    assert (
        fit("--trainer.callbacks", samples, "--trainer.val_check_interval", "3", "--trainer.default_root_dir", "run")
        == 0
    )
    folder = Path("run/samples/step=00000003")
    names = {path.name.partition(".")[0].partition("-10-")[2][5:] + path.suffix for path in folder.iterdir()}
    assert names == {".png", ".wav", "first.wav", "given.wav", "reference.wav", "prompt.wav"}
    key = next(folder.glob("*.png")).stem
    reference, spoken = (soundfile.info(folder / f"{key}{part}.wav") for part in ("-reference", ""))
    given = soundfile.info(folder / f"{key}-given.wav")
    assert reference.samplerate == 16000 and given.frames == reference.frames
    assert 0 < spoken.frames <= 1.5 * reference.frames + 640

    ((added, symbols, _, frame),) = drawn
    assert added.shape == (len(symbols), round(soundfile.info(folder / f"{key}.wav").duration / frame))
    assert (symbols[0], symbols[-1]) == ("<s>", "</s>") and added.isfinite().all() and added.min() >= -1e-5

    found = figures("run")
    assert 1 <= found["val/duration_ratio"] <= 50 and 0 <= found["val/stopped"] <= 1 and found["val/rtf"] > 0
    left_out = "cer left out: the package jiwer is missing: pip install 'vocolab[metrics]'"
    assert caplog.messages.count(left_out) == 1 and "val/cer" not in found

    card = saved("run")["vocolab"]
    assert card["prompt_seconds"] == 1.0 and card["text"]["class_path"].endswith("Characters")
    assert card["longest_text"] == Index.open(ground / "shards", "train").rows["symbols"].max() - 2 > 20
    loaded = load_lm("run/checkpoints/last.ckpt")
    state = saved("run")["state_dict"]
    assert_equal({f"lm.{name}": value for name, value in loaded.lm.state_dict().items()},
                 {name: value for name, value in state.items() if name.startswith("lm.")})  # fmt: skip
    assert loaded.codec.decode(torch.zeros(1, 2, 9, dtype=torch.long)).shape == (1, 9 * 640)

    # The same codebooks over the same training speech, so that the held-out texts may be said as a test.
    split = ["--data.corpus.test", "[dev-clean]", "--data.corpus.val", "[]", "--data.shards", "other"]
    assert main(["predict", "-c", "run/config.yaml", *split]) == 0
    assert len(list(Path("run/predictions").glob("*.wav"))) == 2
    capfd.readouterr()
    assert main(["validate", "-c", "run/config.yaml"]) == 0
    out = capfd.readouterr().out
    assert '"val/loss"' in out and '"val/loss_level_1"' in out


def test_without_a_vocoder_there_are_pictures_alone(recipe, caplog):
    callbacks = "[SpokenSamples, {class_path: Evaluate, init_args: {metrics: [stopped]}}]"
    flags = ["--trainer.callbacks", callbacks, "--trainer.val_check_interval", "1"]
    assert fit(*flags, "--data.codec.vocoder", "null", "--trainer.default_root_dir", "run") == 0
    assert len(list(Path("run/samples").rglob("*.png"))) == 6 and not list(Path("run/samples").rglob("*.wav"))
    assert sum("samples are written without audio: the codec has no vocoder" in line for line in caplog.messages) == 1
    assert sum("validation measures no speech: the codec has no vocoder" in line for line in caplog.messages) == 1
    assert "val/stopped" not in figures("run")


def test_fine_tuning_through_the_command_line(recipe, capsys):
    assert fit("--trainer.default_root_dir", "first") == 0
    flags = ["--model.initialize_from", "first/checkpoints/last.ckpt", "--model.optimizer.lr", "0.0"]
    assert fit(*flags, "--model.optimizer.weight_decay", "0.0", "--trainer.default_root_dir", "second") == 0
    assert_equal(saved("first")["state_dict"], saved("second")["state_dict"])
    other = ["--data.codec.size", "16", "--data.shards", "other", "--trainer.default_root_dir", "third"]
    assert fit(*flags, *other) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("vocolab: error: its codes are those of another codec: first/checkpoints/last.ckpt: ")


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--data.batches", "{class_path: Crops, init_args: {frames: 8, size: 2}}"], "needs prompts, Crops has none"),
        (["--data.codec", "null", "--data.encoder", "Mel"], "needs codes: data.codec"),
        (["--data.text", "null"], "needs texts: data.text"),
        (["--data.batches.tokens", "20"], "the budget of a batch is 20: raise --data.batches.tokens"),
        (["--data.batches.min_seconds", "100"], "gives 0 samples for a batch, fewer than 1"),
        (["--data.batches.max_seconds", "0.2"], "loosen --data.batches.min_seconds and --data.batches.max_seconds"),
        (["--data.codec.vocoder", "lost.ckpt"], "no such vocoder: lost.ckpt: train it first"),
    ],
)
def test_what_a_language_model_needs_of_the_data(recipe, flags, words, capsys):
    assert fit(*flags) in (1, 2)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("vocolab: error: ") and words in line


def test_memory_that_runs_out_later_is_one_line_too(recipe, monkeypatch, capsys):
    calls = []

    def loss(*_):
        calls.append(1)
        if len(calls) > 2:  # the longest batch went well
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return first(*_)

    first = Split.loss
    monkeypatch.setattr(Split, "loss", loss)
    assert fit("--trainer.default_root_dir", "run") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("vocolab: error: out of memory: data.batches: lower --data.batches.tokens")
