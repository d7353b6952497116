"""`vocolab export`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.test_checkpoints import own_checkpoint, wavlm_generator
from vocolab.cli import main
from vocolab.files import atomic_folder
from vocolab.vocoders import Vocos


def test_a_language_model(work, lm_checkpoint, capsys):
    assert main(["export", lm_checkpoint, "-o", "model.safetensors"]) == 0
    assert capsys.readouterr().out.startswith("model.safetensors: lm, 0.")
    assert main(["export", lm_checkpoint, "-o", "model.safetensors"]) == 1
    assert capsys.readouterr().err.startswith("vocolab: error: output exists: model.safetensors: ")
    assert main(["export", lm_checkpoint, "-o", "model.safetensors", "--overwrite"]) == 0
    assert [path.name for path in work.iterdir()] == ["model.safetensors"]


def test_the_official_layout(work):
    vocoder = wavlm_generator()
    own_checkpoint(Path("last.ckpt"), vocoder)
    assert main(["export", "last.ckpt", "-o", "g_1.pt", "--format", "hifigan"]) == 0
    state = torch.load("g_1.pt", weights_only=True)["generator"]
    assert all(torch.equal(state[name], value) for name, value in vocoder.state_dict().items())


@pytest.mark.parametrize(
    "args, status, line",
    [
        (["none.ckpt", "-o", "m.safetensors"], 1, "no such file: none.ckpt: correct CKPT"),
        (["v.ckpt", "-o", "m.pt"], 2, "not named .safetensors: m.pt: name it so, or choose another --format"),
        (["v.ckpt", "-o", "."], 2, "the output is a folder: .: name a file with -o"),
        (["v.ckpt", "-o", "v.ckpt", "--format", "hifigan"], 2, "the output is the checkpoint: v.ckpt: choose another"),
        (["v.ckpt", "-o", "g.pt", "--format", "hifigan"], 1, "Vocos has no official layout: g.pt: export a HiFiGAN"),
        (["v.ckpt", "-o", "g.pt", "--format", "hifigan", "--half"], 2, "--half is for safetensors and hf: --format "),
        (["v.ckpt", "-o", "m.safetensors", "--licence", "MIT"], 2, "--licence is for hf: --format safetensors: leave"),
        (["v.ckpt", "-o", "folder/..", "--format", "hf"], 1, "folder is not empty: folder/..: choose another"),
        (["v.ckpt", "-o", ".", "--format", "hf", "--overwrite"], 1, "folder holds other files (folder): .: choose"),
        (["v.ckpt", "-o", "noise", "--format", "hf"], 1, "a file, not a folder: noise: name a folder that does not ex"),
        (["v.ckpt", "-o", "x", "--format", "hf", "--figures", "noise"], 1, "holds no figures: noise: give a results.j"),
        (["v.ckpt", "-o", "x", "--format", "hf", "--push"], 2, "nothing says where to upload to: --push: give --hub-n"),
        (["v.ckpt", "-o", "x", "--format", "hf", "--hub-name", "me"], 2, "not a name on the hub: me: give OWNER/NAME"),
        (["noise", "-o", "x", "--format", "hf"], 1, "not a checkpoint: noise: give a file that vocolab fit"),
        (["noise", "-o", "m.safetensors"], 1, "not a checkpoint: noise: give a file that vocolab fit"),
        (["folder", "-o", "m.safetensors"], 1, "a folder, not a checkpoint: folder: give a file, or a folder"),
    ],
)
def test_what_is_refused(args, status, line, work, capsys):
    own_checkpoint(Path("v.ckpt"), Vocos(12, 16, 1, 16))
    Path("noise").write_bytes(b"noise")
    Path("folder").mkdir()
    assert main(["export", *args]) == status
    assert capsys.readouterr().err.startswith(f"vocolab: error: {line}")
    assert sorted(path.name for path in work.iterdir()) == ["folder", "noise", "v.ckpt"]


def test_a_language_model_has_no_official_layout(work, lm_checkpoint, capsys):
    assert main(["export", lm_checkpoint, "-o", "g.pt", "--format", "hifigan"]) == 1
    assert "holds a model of kind 'lm', no vocoder" in capsys.readouterr().err


def test_a_folder_of_the_hub_is_a_checkpoint(work, lm_checkpoint, speech_file, capsys):
    assert main(["export", lm_checkpoint, "-o", "model", "--format", "hf", "--licence", "MIT"]) == 0
    assert capsys.readouterr().out.startswith("model: lm, 0.")
    assert sorted(path.name for path in Path("model").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    said = ["synthesize", "hello", "--ref", str(speech_file), "--max-ar-steps", "10", "--checkpoint"]
    assert main([*said, "model", "-o", "folder.wav"]) == 0
    assert main([*said, str(lm_checkpoint), "-o", "checkpoint.wav"]) == 0
    assert Path("folder.wav").read_bytes() == Path("checkpoint.wav").read_bytes()
    assert main(["export", "model", "-o", "again.safetensors"]) == 0
    assert Path("again.safetensors").stat().st_size == Path("model/model.safetensors").stat().st_size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_stopped_leaves_nothing(number, work, monkeypatch, capsys):
    own_checkpoint(Path("v.ckpt"), Vocos(12, 16, 1, 16))
    half = []

    def stopped(state, path, metadata):
        Path(path).write_bytes(b"half")
        half.extend(file for file in work.rglob("*") if file.is_file() and file.name != "v.ckpt")
        os.kill(os.getpid(), number)

    monkeypatch.setattr("vocolab.checkpoints.folder.save_file", stopped)
    before = signal.getsignal(number)
    assert main(["export", "v.ckpt", "-o", "model", "--format", "hf"]) == 130
    assert half and [file.name for file in work.iterdir()] == ["v.ckpt"]
    assert capsys.readouterr().err.splitlines()[-1] == "vocolab: interrupted" and signal.getsignal(number) is before


def test_what_a_killed_one_left_is_removed_by_the_next(work, capsys, monkeypatch):
    own_checkpoint(Path("v.ckpt"), Vocos(12, 16, 1, 16))
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    with monkeypatch.context() as killed:
        killed.setattr(os, "getpid", lambda: ended.pid)
        with atomic_folder("old", ()) as left:
            pass
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    Path("old").rmdir()
    assert main(["export", "v.ckpt", "-o", "m.safetensors"]) == 0
    assert sorted(file.name for file in work.iterdir()) == ["m.safetensors", "v.ckpt"]
    assert "removed what a killed run left unfinished" in capsys.readouterr().err
