"""A corpus, a recipe and shards small enough to train on in a second."""

from __future__ import annotations

from pathlib import Path

import pytest

import vocolab.recipe  # noqa: F401  (Lightning's log handler keeps the standard error it was imported under)
from tests.data.speech import librispeech

RECIPE = """\
seed_everything: 7
trainer:
  accelerator: cpu
  devices: 1
  max_steps: 4
  val_check_interval: 2
  check_val_every_n_epoch: null
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
  callbacks: [Timing]
checkpoint: {every_n_train_steps: 2}
data:
  corpus: {class_path: LibriSpeech, init_args: {root: CORPUS}}
  encoder: {class_path: Mel, init_args: {n_mels: 20}}
  batches: {class_path: Crops, init_args: {frames: 22, size: 2}}
  prepare_workers: 1
  seed: ${seed_everything}
model:
  class_path: VocoderTask
  init_args:
    vocoder: slots/vocoder.yaml
    losses: [{class_path: MelLoss, init_args: {weight: 45}}]
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 2.0e-4}}
"""
VOCODER = """\
class_path: Vocos
init_args:
  dim: 8
  blocks: 1
  hidden: 8
"""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LibriSpeech layout of real speech: 2 speakers to train on, 1 held out."""
    return librispeech(tmp_path_factory.mktemp("corpus"), speakers=2, each=2, dev=2)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' recipes prepare, once."""
    return tmp_path_factory.mktemp("shards") / "mel"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOCOLAB_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def recipe(work: Path, corpus: Path, shards: Path) -> Path:
    """A tiny recipe with a slot file beside it, both in the working directory."""
    (work / "slots").mkdir()
    (work / "slots" / "vocoder.yaml").write_text(VOCODER)
    path = work / "tiny.yaml"
    text = RECIPE.replace("CORPUS", str(corpus))
    path.write_text(text.replace("  seed: $", f"  shards: {shards}\n  seed: $"))
    return path
