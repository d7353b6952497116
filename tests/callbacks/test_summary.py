"""What a run's folder and its loggers say of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny_run import corpus, recipe, shards, work
from vocolab.callbacks.curves import draw_curves
from vocolab.cli import main
from vocolab.data.shards.manifest import NAME, read_manifest, write_manifest
from vocolab.data.statistics import statistics
from vocolab.plot import read_run

__all__ = ["corpus", "recipe", "shards", "work"]
RUN = Path("runs/tiny")


class StopAtFour(Callback):
    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == 4


def fit(*flags: str) -> int:
    return main(["fit", "-c", "tiny.yaml", *flags])


def test_a_run_explains_itself(recipe):
    """As it ends, as it was stopped before, and in TensorBoard."""
    assert fit("--trainer.max_steps", "2") == 0
    more = ["--ckpt_path", "last", "--trainer.max_steps", "12"]
    assert fit(*more, "--trainer.callbacks", "[tests.callbacks.test_summary.StopAtFour]") == 0
    text = (RUN / "README.md").read_text()
    assert "Stopped: 4 of 12 updates" in text and "`vocolab fit -c config.yaml --ckpt_path last`" in text
    assert fit(*more, "--trainer.callbacks+", "{Samples: 1}") == 0
    text = (RUN / "README.md").read_text()
    assert "`VocoderTask` with `Vocos`" in text and "Finished: 12 of 12 updates" in text
    last = read_run(RUN)["val/mel_l1"][-1]
    assert f"| `val/mel_l1` | {last[1]:.4g} | 12 | difference of log-mel spectra (nepers; less is better) |" in text
    assert "\nTrain `vocoder` to turn features back into their speech.\n" in text
    assert "| train | 4 | " in text and "| val | 2 | " in text and "vocolab convert SOURCE.wav" in text
    assert "- command: `vocolab fit -c tiny.yaml --ckpt_path last --trainer.max_steps 12 " in text
    assert "| `samples/step=…/KEY.wav` | " in text and " minutes (validations left out)" in text
    for name in ("config.yaml", "metrics.csv", "curves.png", "checkpoints", "tensorboard"):
        assert f"| `{name}` |" in text and (RUN / name).exists()

    board = EventAccumulator(str(RUN / "tensorboard"), size_guidance={"histograms": 0}).Reload()
    assert {"data/train_seconds", "data/val_minutes_a_speaker"} <= {*board.Tags()["histograms"]}
    assert len(board.Histograms("data/train_seconds")) == 1  # told once, though the run was resumed
    assert "data/text_summary" in board.Tags()["tensors"]
    (original,) = (RUN / "samples" / "original").iterdir()
    assert {*board.Tags()["audio"]} == {original.stem, f"original/{original.stem}"}
    assert board.Tags()["images"] == [original.stem] and len(board.Audio(original.stem)) == 4  # at 6, 8, 10 and 12
    assert len(board.Audio(f"original/{original.stem}")) == 1


def test_a_readme_of_one_s_own_stays(recipe):
    RUN.mkdir(parents=True)
    (RUN / "README.md").write_text("my notes")
    assert fit("--trainer.max_steps", "1") == 0
    assert (RUN / "README.md").read_text() == "my notes"


def test_what_shards_hold(recipe, shards):
    assert fit("--trainer.max_steps", "1") == 0
    found, manifest = statistics(shards), read_manifest(shards)
    for name, split in found.splits.items():
        assert split.seconds.sum() == pytest.approx(manifest["splits"][name]["seconds"], abs=0.1)
        assert split.speakers.sum() == pytest.approx(split.seconds.sum())
        assert len(split.speakers) == manifest["splits"][name]["speakers"]
    assert found.skipped_lines() == []
    skipped = [{"path": f"{i}", "reason": "silent" if i else "damaged"} for i in range(3)]
    before = (shards / NAME).read_bytes()
    try:
        write_manifest(shards, manifest | {"skipped": skipped})
        assert statistics(shards).skipped_lines() == ["2 files skipped: silent", "1 files skipped: damaged"]
    finally:
        (shards / NAME).write_bytes(before)


def test_curves_of_a_few_points_are_not_drawn(tmp_path):
    lines = [f"{step},{2.0 / (step + 1)},{'' if step % 5 else 0.5}" for step in range(12)]
    for count in (5, 12):
        (tmp_path / "metrics.csv").write_text("\n".join(["step,train/loss,val/stoi", *lines[:count]]) + "\n")
        draw_curves(tmp_path)
        assert (tmp_path / "curves.png").exists() == (count == 12)
