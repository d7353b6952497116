"""Two ranks that are ended, stopped or killed go on as if nothing had been."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import yaml

from tests.data.speech import librispeech
from tests.overlay import overlay
from tests.processes import ROOT, assert_same_run, command, rows, saved
from tests.tasks.codes import codes_recipe

TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2")  # whatever Lightning makes of it: DDP on gloo
FIT = (sys.executable, "-m", "vocolab", "fit", "-c")


def interrupted(folder: Path, step: int, signum: int) -> tuple[str, ...]:
    """The flags that send the first rank a signal at `step`, once."""
    callback = {"class_path": "tests.processes.SignalOnce"}
    callback["init_args"] = {"step": step, "signum": int(signum), "done": str(folder / "sent")}
    (folder / "signal.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    return "-c", str(folder / "signal.yaml")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_vocoder(tmp_path, speech_folder):
    """A GAN: ended and resumed, killed and resumed."""
    recipe = [*FIT, str(ROOT / "recipes/quickstart.yaml"), *overlay("quickstart", tmp_path), *TWO]
    recipe += ["--data.corpus", str(ROOT / "configs/corpus/folder.yaml"), "--data.corpus.root", str(speech_folder)]
    recipe += ["--data.corpus.val", "['*-0003']", "--data.shards", str(tmp_path / "shards"), "--trainer.max_steps", "6"]
    run = {name: tmp_path / name for name in ("whole", "ended", "killed")}

    def fit(name: str, *more: str, status: int = 0) -> None:
        command(*recipe, "--trainer.default_root_dir", run[name], *more, status=status)

    fit("whole")
    assert saved(run["whole"])["global_step"] == 6 and len(saved(run["whole"])["optimizer_states"]) == 2
    fit("ended", "--trainer.max_steps", "3")
    fit("ended", "--ckpt_path", "last")
    assert_same_run(run["whole"], run["ended"])
    kill = interrupted(tmp_path, 5, signal.SIGKILL)
    fit("killed", *kill, status=-signal.SIGKILL)
    assert saved(run["killed"])["global_step"] == 4
    fit("killed", *kill, "--ckpt_path", "last")
    assert_same_run(run["whole"], run["killed"])
    samples = {name: sorted(p.relative_to(run[name]) for p in run[name].glob("samples/*/*")) for name in run}
    assert samples["whole"] == samples["ended"] == samples["killed"] and len(samples["whole"]) >= 6
    for name in run:
        assert rows(run[name], "val/mel_l1") == rows(run["whole"], "val/mel_l1")
        assert {path.name for path in (run[name] / "checkpoints").iterdir()} == {
            *("last.ckpt", "best.ckpt", "step=00000006.ckpt")
        }


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_language_model(tmp_path):
    """Stopped by SIGTERM in the middle of an update, which is finished and saved."""
    corpus = librispeech(tmp_path / "corpus", speakers=3, each=4)
    text = codes_recipe(corpus, tmp_path / "shards").replace("  max_steps: 3", "  max_steps: 6\n  callbacks: [Timing]")
    (tmp_path / "recipe.yaml").write_text(text)
    run = {name: tmp_path / name for name in ("whole", "stopped")}

    def fit(name: str, *more: str, status: int = 0) -> None:
        flags = ["--trainer.default_root_dir", str(run[name]), *TWO, *more]
        command(*FIT, tmp_path / "recipe.yaml", *flags, status=status)

    fit("whole")
    stop = interrupted(tmp_path, 3, signal.SIGTERM)
    fit("stopped", *stop, status=128 + signal.SIGTERM)
    assert saved(run["stopped"])["global_step"] == 4
    fit("stopped", *stop, "--ckpt_path", "last")
    assert_same_run(run["whole"], run["stopped"])
    assert saved(run["stopped"])["vocolab"] == saved(run["whole"])["vocolab"]
