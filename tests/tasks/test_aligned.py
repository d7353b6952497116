"""Fine-tuning the vocoder of a language model's codec on what the model predicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tasks.codes import codes_recipe
from tests.tasks.test_valle import run, small_task
from tests.tasks.test_vocoder import assert_equal, saved
from tests.tasks.tokens import FittedNoise, Tokens
from tests.tiny_run import corpus  # noqa: F401  (a fixture)
from vocolab import TTS
from vocolab.checkpoints import load_lm, section
from vocolab.cli import main
from vocolab.data.batches import SpeechBatch
from vocolab.errors import VocolabError
from vocolab.pipelines.tts import Spoken
from vocolab.recipe import load_recipe
from vocolab.tasks import AlignedVocoderTask

VOCODER = """
seed_everything: 3
trainer: {accelerator: cpu, max_steps: 1, num_sanity_val_steps: 0, check_val_every_n_epoch: null, val_check_interval: 9}
checkpoint: {every_n_train_steps: 1}
data:
  corpus: {class_path: LibriSpeech, init_args: {root: CORPUS}}
  encoder: {class_path: Mel, init_args: {hop: 320}}
  batches: {class_path: Crops, init_args: {frames: 8, size: 2}}
  shards: SHARDS
model:
  class_path: VocoderTask
  init_args: {vocoder: {class_path: Vocos, init_args: {hop: 320, n_fft: 1280, dim: 8, blocks: 1, hidden: 8}}}
"""
ALIGNED = """
model:
  class_path: AlignedVocoderTask
  init_args:
    trained: lm/checkpoints/last.ckpt
    frames: 4
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1.0e-3}}
"""


@pytest.fixture(scope="module")
def ground(corpus, tmp_path_factory) -> Path:  # noqa: F811
    """A folder with a trained language model whose codec has a vocoder, in `lm`, and a recipe that goes on from it."""
    folder = tmp_path_factory.mktemp("aligned")
    (folder / "vocoder.yaml").write_text(VOCODER.replace("CORPUS", str(corpus)).replace("SHARDS", f"{folder}/mels"))
    recipe = codes_recipe(corpus, folder / "codes").replace("iterations: 2}", "iterations: 2, vocoder: VOCODER}")
    lm = recipe.replace("VOCODER", f"{folder}/vocoder/checkpoints/last.ckpt")
    (folder / "lm.yaml").write_text(lm)
    aligned = recipe[: recipe.index("model:")].replace(", vocoder: VOCODER", "") + ALIGNED
    aligned = aligned.replace("prompt_seconds: 1.0", "prompt_seconds: 1.0, audio: true")
    aligned = aligned.replace(", monitor: val/loss", "").replace("  gradient_clip_val: 10\n", "")
    (folder / "aligned.yaml").write_text(aligned.replace("lm/check", f"{folder}/lm/check").replace("max_steps: 3", ""))
    for name in ("vocoder", "lm"):
        assert main(["fit", "-c", f"{folder}/{name}.yaml", "--trainer.default_root_dir", f"{folder}/{name}"]) == 0
    return folder


def fit(ground: Path, run_folder: Path, steps: int, *flags: str) -> int:
    begin = ["fit", "-c", str(ground / "aligned.yaml"), "--trainer.max_steps", str(steps)]
    callbacks = ["--trainer.callbacks+=vocolab.callbacks.EMA"]
    every = ["--checkpoint.every_n_train_steps", "1"]
    return main([*begin, *callbacks, *every, "--trainer.default_root_dir", str(run_folder), *flags])


def test_two_updates_and_two_more_are_four_and_the_vocoder_alone_learns(ground, tmp_path):
    before = load_lm(ground / "lm" / "checkpoints" / "last.ckpt")
    assert fit(ground, tmp_path / "a", 4) == 0
    assert fit(ground, tmp_path / "b", 2) == 0
    assert fit(ground, tmp_path / "b", 4, "--ckpt_path", "last") == 0
    whole, resumed = saved(tmp_path / "a"), saved(tmp_path / "b")
    assert_equal(whole["state_dict"], resumed["state_dict"])
    assert_equal(whole["ema_trained"], resumed["ema_trained"])
    assert_equal(section(whole["state_dict"], "lm."), dict(before.lm.state_dict()))
    assert {name.split(".")[0] for name in whole["state_dict"]} == {"lm", "codec"}
    assert {k: v for k, v in whole["vocolab"].items() if k != "imports"} == {
        k: v for k, v in before.meta.items() if k != "imports"
    }
    old, new = before.codec.vocoder.state_dict(), section(whole["state_dict"], "codec.vocoder.")
    assert any(not torch.equal(old[name], new[name]) for name in old)


def test_its_checkpoint_speaks_with_the_new_vocoder(ground, tmp_path, speech_file):
    assert fit(ground, tmp_path, 3) == 0
    path = tmp_path / "checkpoints" / "last.ckpt"
    old, new = (TTS.from_checkpoint(place) for place in (ground / "lm" / "checkpoints" / "last.ckpt", path))
    assert_equal(dict(new.codec.vocoder.state_dict()), section(saved(tmp_path)["state_dict"], "codec.vocoder."))
    said = [say(tts, speech_file) for tts in (old, new)]
    assert torch.equal(said[0].codes, said[1].codes) and not torch.equal(said[0].wav, said[1].wav)
    output = tmp_path / "model.safetensors"
    assert main(["export", str(path), "-o", str(output)]) == 0
    assert torch.equal(say(TTS.from_checkpoint(output), speech_file).wav, said[1].wav)


def say(tts: TTS, voice: Path) -> Spoken:
    sampling = tts.sampling(max_ar_steps=20)
    return next(iter(tts.speak(tts.read(["ten small words"]), tts.get_prompt([voice]), sampling, seed=1)))


def test_it_hears_the_first_codes_of_the_recording_and_what_the_model_says_of_the_others(ground, tmp_path):
    assert fit(ground, tmp_path, 1) == 0
    loaded = load_recipe(ground / "aligned.yaml", {"trainer.default_root_dir": str(tmp_path / "b")})
    task, data = loaded.model, loaded.data
    data.prepare()
    task.trainer = loaded.trainer
    loaded.trainer.datamodule = data
    task.setup("validate")
    batch = next(iter(data.val_dataloader())).unpacked()
    found = task.predicted(batch)
    rows = batch.lengths.tolist()
    first = task.codec.codewords[0][batch.codes[:, 0]]  # (B, L, 2·n_mels)
    rest = found.feats.unflatten(1, (-1, task.codec.hops)).flatten(2) - first
    words = task.codec.codewords[1]
    for row, length in enumerate(rows):
        nearest = torch.cdist(rest[row, :length], words).argmin(1)
        torch.testing.assert_close(words[nearest], rest[row, :length], atol=1e-4, rtol=0)
    assert found.lengths.tolist() == [length * task.codec.hops for length in rows]


def test_pieces_of_speech_and_frames_are_of_the_same_place(ground):
    task = AlignedVocoderTask(ground / "lm" / "checkpoints" / "last.ckpt", frames=3, crops=4)
    lengths = torch.tensor([20, 9])
    frames = torch.arange(20.0).expand(2, -1)
    batch = SpeechBatch(
        audio=frames.repeat_interleave(320, dim=1), feats=frames[:, :, None].expand(-1, -1, 80), lengths=lengths
    )
    cut = task._cut(batch)
    assert cut.feats.shape == (8, 6, 80) and cut.audio.shape == (8, 6 * 320)
    assert torch.equal(cut.audio[:, ::320], cut.feats[:, :, 0])
    assert torch.equal(cut.feats.diff(dim=1), torch.ones(8, 5, 80))
    assert bool((cut.feats[:, -1, 0] < lengths.repeat(4)).all()) and len({*cut.feats[:, 0, 0].tolist()}) > 2
    short = AlignedVocoderTask(ground / "lm" / "checkpoints" / "last.ckpt", frames=30)._cut(batch)
    assert short.feats.shape[1] == 9  # as long as the shortest


def test_what_is_refused(ground, tmp_path, capsys):
    assert fit(ground, tmp_path / "a", 1, "--data.batches.audio", "false") == 2
    assert "batches without audio: data: set data.batches.init_args.audio to true" in capsys.readouterr().err
    assert fit(ground, tmp_path / "b", 1, "--model.frames", "0") == 2
    assert "frames is 0" in capsys.readouterr().err
    other = ["--data.codec.size", "16", "--data.codec.iterations", "1", "--data.shards", str(tmp_path / "other")]
    assert fit(ground, tmp_path / "c", 1, *other) == 1
    assert "its codes are those of another codec" in capsys.readouterr().err
    assert fit(ground, tmp_path / "d", 1, "--model.trained", str(tmp_path / "none.ckpt")) == 1
    assert "no such checkpoint" in capsys.readouterr().err
    assert not any((tmp_path / name / "checkpoints").exists() for name in "abcd")


def test_a_codec_without_a_vocoder_is_refused(tmp_path):
    run(tmp_path, small_task(), Tokens(codec=FittedNoise()), 1)
    with pytest.raises(VocolabError, match="its codec, FittedNoise, decodes without a vocoder"):
        AlignedVocoderTask(tmp_path / "checkpoints" / "last.ckpt")


def test_it_does_not_go_on_with_the_vocoder_of_another_model(ground, tmp_path, capsys):
    again = [
        "fit",
        "-c",
        str(ground / "lm.yaml"),
        "--trainer.default_root_dir",
        str(tmp_path / "lm"),
        "--seed_everything",
        "5",
    ]
    assert main(again) == 0 and fit(ground, tmp_path / "a", 1) == 0
    capsys.readouterr()
    other = ["--model.trained", str(tmp_path / "lm" / "checkpoints" / "last.ckpt"), "--ckpt_path", "last"]
    assert fit(ground, tmp_path / "a", 2, *other) == 1
    assert "its vocoder was trained for another model" in capsys.readouterr().err
