"""Two processes learn what one does."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything

import vocolab.recipe  # noqa: F401  (Lightning's log handler keeps the standard error it was imported under)
from tests.data.speech import librispeech
from tests.tasks.codes import codes_recipe
from tests.tasks.recording import Dealt, RecordedSGD, RecordSeeds
from tests.tasks.tokens import Tokens
from vocolab.cli import main
from vocolab.lm import Unified
from vocolab.lm.backbones import Transformer
from vocolab.tasks import VALLETask

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
data: {prepare_workers: 1}
model: {init_args: {adversarial_from: 1, optimizer: {init_args: {lr: 1.0e-12}}}}
"""
TWO = {"strategy": "ddp_fork", "devices": 2}


def fit(task: LightningModule, data: LightningDataModule, **settings) -> None:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        **settings,
    )
    trainer.fit(task, data)


def run_here(recipe: str, *flags: str) -> None:
    assert main(["fit", "-c", recipe, *flags]) == 0


def run_ranks(recipe: str, *flags: str) -> None:
    """In a process of its own, whose command the second rank repeats."""
    command = [sys.executable, "-m", "vocolab", "fit", "-c", recipe, *flags]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/src", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr


def gradients(
    start: Callable[..., None], folder: Path, shards: Path, corpus: Path, *flags: str
) -> dict[str, dict[str, torch.Tensor]]:
    folder.mkdir()
    (folder / "more.yaml").write_text(SETTINGS.replace("FOLDER", str(folder / "gradients")))
    more = ["-c", str(folder / "more.yaml"), "--data.corpus", str(ROOT / "configs/corpus/folder.yaml")]
    more += ["--data.corpus.root", str(corpus), "--data.corpus.val", "['*-0003']", "--data.shards", str(shards)]
    start(str(ROOT / "recipes/quickstart.yaml"), *more, "--trainer.default_root_dir", str(folder / "run"), *flags)
    return {path.stem: torch.load(path) for path in sorted((folder / "gradients").iterdir())}


def test_two_ranks_on_gloo_are_one_process_with_their_batches_joined(tmp_path, speech_folder):
    shards = tmp_path / "shards"
    one = gradients(run_here, tmp_path / "one", shards, speech_folder, "--data.batches.size", "16")
    ddp = ["--trainer.devices", "2", "--trainer.strategy", "ddp_find_unused_parameters_true"]
    two = gradients(run_ranks, tmp_path / "two", shards, speech_folder, "--data.batches.size", "8", *ddp)
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
    text = codes_recipe(corpus, tmp_path / "shards", dropout=0.0)
    recorded = "optimizer: {class_path: tests.tasks.recording.RecordedSGD, init_args: {folder: FOLDER}}"
    text = text.replace("optimizer: torch.optim.AdamW", recorded)
    flags = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(text.replace("FOLDER", str(tmp_path / name / "gradients")))
        flags[name] = [str(tmp_path / name / "recipe.yaml"), "--trainer.default_root_dir", str(tmp_path / name / "run")]
    run_here(*flags["one"], "--trainer.accumulate_grad_batches", "2")
    run_ranks(*flags["two"], "--trainer.devices", "2", "--trainer.strategy", "ddp")
    for update in range(3):
        one, two = (torch.load(tmp_path / name / "gradients" / f"{update}.pt") for name in ("one", "two"))
        assert len(one) == len(two) > 30
        for expected, found in zip(one, two, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    files = [tmp_path / name / "run/checkpoints/last.ckpt" for name in ("one", "two")]
    one, two = (torch.load(file, weights_only=True) for file in files)
    assert one["vocolab"]["statistics"] == two["vocolab"]["statistics"]
    assert all(torch.equal(v, two["state_dict"][k]) for k, v in one["state_dict"].items() if k.startswith("codec."))


def test_two_ranks_of_a_unified_model_are_one_process_though_their_rows_draw_other_levels(tmp_path):
    """One of them has no row of the first codebook, and so no text to learn."""
    sizes = {"levels": 3, "size": 12, "symbols": 12, "text_weight": 0.5}
    for name, settings in {"one": {"accumulate_grad_batches": 2}, "two": TWO}.items():
        seed_everything(7, verbose=False)
        optimizer = functools.partial(RecordedSGD, folder=str(tmp_path / name))
        task = VALLETask(Dealt(Transformer(16, 2, 1, dropout=0.0), **sizes), optimizer)
        fit(task, Tokens(), max_steps=3, default_root_dir=tmp_path, **settings)
    for update in range(3):
        one, two = (torch.load(tmp_path / name / f"{update}.pt") for name in ("one", "two"))
        assert len(one) == len(two) > 20
        for expected, found in zip(one, two, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_each_rank_draws_random_numbers_of_its_own(tmp_path):
    seed_everything(7, verbose=False)
    task = VALLETask(Unified(Transformer(16, 2, 1), levels=3, size=12, symbols=12))
    fit(task, Tokens(), max_steps=2, default_root_dir=tmp_path, callbacks=[RecordSeeds(str(tmp_path / "seeds"))], **TWO)
    assert len(list((tmp_path / "seeds").iterdir())) == 4  # a file's name is a seed
