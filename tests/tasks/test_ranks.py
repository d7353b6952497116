"""Two processes learn what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.data.speech import librispeech

ROOT = Path(__file__).parents[2]
# The learning rate is tiny so that all four updates start from the same weights: AdamW turns the rounding of a gradient
# near zero into a full step of either sign.
SETTINGS = """
trainer:
  max_steps: 4
  enable_progress_bar: false
  logger: false
  limit_val_batches: 0
  callbacks: [{class_path: tests.tasks.recording.RecordGradients, init_args: {folder: FOLDER}}]
checkpoint: {every_n_train_steps: 100}
model: {init_args: {adversarial_from: 1, optimizer: {init_args: {lr: 1.0e-12}}}}
"""


CODES = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_steps: 3
  num_sanity_val_steps: 0
  check_val_every_n_epoch: null
  val_check_interval: 1000
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  gradient_clip_val: 10
checkpoint: {every_n_train_steps: 3, monitor: val/loss}
data:
  corpus: {class_path: LibriSpeech, init_args: {root: CORPUS}}
  codec:
    class_path: KMeansCodec
    init_args: {encoder: {class_path: Whisper, init_args: {layer: 1}}, levels: 2, size: 32, iterations: 2}
  text: Characters
  batches: {class_path: TokenBudget, init_args: {tokens: 700, prompt_seconds: 1.0}}
  shards: SHARDS
model:
  class_path: VALLETask
  init_args:
    lm:
      class_path: Split
      init_args:
        ar: {class_path: AR, init_args: {backbone: {class_path: Transformer, init_args: SIZES}, symbols: 64}}
        nar: {class_path: NAR, init_args: {backbone: {class_path: RetNet, init_args: SIZES}, symbols: 64}}
    optimizer: {class_path: tests.tasks.recording.RecordedSGD, init_args: {folder: FOLDER}}
"""


def run(recipe: Path, *flags: str) -> None:
    command = [sys.executable, "-m", "vocolab", "fit", "-c", str(recipe), *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr


def gradients(folder: Path, shards: Path, corpus: Path, *flags: str) -> dict[str, dict[str, torch.Tensor]]:
    folder.mkdir()
    (folder / "more.yaml").write_text(SETTINGS.replace("FOLDER", str(folder / "gradients")))
    more = ["-c", str(folder / "more.yaml"), "--data.corpus", str(ROOT / "configs/corpus/folder.yaml")]
    more += ["--data.corpus.root", str(corpus), "--data.corpus.val", "['*-0003']", "--data.shards", str(shards)]
    run(ROOT / "recipes/quickstart.yaml", *more, "--trainer.default_root_dir", str(folder / "run"), *flags)
    return {path.stem: torch.load(path) for path in sorted((folder / "gradients").iterdir())}


def test_two_ranks_on_gloo_are_one_process_with_their_batches_joined(tmp_path, speech_folder):
    shards = tmp_path / "shards"
    one = gradients(tmp_path / "one", shards, speech_folder, "--data.batches.size", "16")
    ddp = ["--trainer.devices", "2", "--trainer.strategy", "ddp_find_unused_parameters_true"]
    two = gradients(tmp_path / "two", shards, speech_folder, "--data.batches.size", "8", *ddp)
    assert list(one) == list(two)
    assert [name for name in one if name.endswith("vocoder")] == [f"{step}-vocoder" for step in range(4)]
    assert [name for name in one if name.endswith("discriminator")] == [f"{step}-discriminator" for step in (1, 2, 3)]
    for update, expected in one.items():
        scale = max(float(g.abs().max()) for g in expected.values())
        assert scale > 1e-3, update
        assert expected.keys() == two[update].keys(), update
        for name, gradient in expected.items():
            assert torch.allclose(two[update][name], gradient, atol=1e-5 * max(scale, 1), rtol=1e-5), (update, name)


def test_two_ranks_of_a_language_model_are_one_process_that_accumulates(tmp_path):
    """Batches of unequal numbers of tokens; the gradient is that of the mean over all of them."""
    corpus = librispeech(tmp_path / "corpus", speakers=3, each=4)
    sizes = "{dim: 16, heads: 2, layers: 1, dropout: 0.0}"
    text = CODES.replace("CORPUS", str(corpus)).replace("SHARDS", str(tmp_path / "shards")).replace("SIZES", sizes)
    for name, flags in {
        "one": ["--trainer.accumulate_grad_batches", "2"],
        "two": ["--trainer.devices", "2", "--trainer.strategy", "ddp"],
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(text.replace("FOLDER", str(tmp_path / name / "gradients")))
        run(tmp_path / name / "recipe.yaml", "--trainer.default_root_dir", str(tmp_path / name / "run"), *flags)
    for update in range(3):
        one, two = (torch.load(tmp_path / name / "gradients" / f"{update}.pt") for name in ("one", "two"))
        assert len(one) == len(two) > 30
        for expected, found in zip(one, two, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    cards = [torch.load(tmp_path / name / "run/checkpoints/last.ckpt", weights_only=True) for name in ("one", "two")]
    assert cards[0]["vocolab"]["statistics"] == cards[1]["vocolab"]["statistics"]
    for key, value in cards[0]["state_dict"].items():
        assert torch.equal(value, cards[1]["state_dict"][key]) == key.startswith("codec.") or "lm." in key
