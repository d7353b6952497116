"""Strategies that a task cannot train under are refused before anything is prepared."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lightning.pytorch.strategies import DDPStrategy

from vocolab.cli import main
from vocolab.errors import UsageError
from vocolab.recipe import Recipe, load_recipe
from vocolab.recipe.strategies import check_strategy

ROOT = Path(__file__).parents[2]
VOCODER, VALLE = "vocolab.tasks.vocoder.VocoderTask", "vocolab.tasks.valle.VALLETask"
TWO = "VocoderTask steps its optimizers itself (manual optimisation; a GAN has two), and "
DEEPSPEED = {"class_path": "lightning.pytorch.strategies.DeepSpeedStrategy"}


@pytest.mark.parametrize(
    "strategy, reason",
    [
        ("deepspeed", "DeepSpeed takes one"),
        ("deepspeed_stage_3_offload", "DeepSpeed takes one"),
        (DEEPSPEED, "DeepSpeed takes one"),
        ("fsdp", "FSDP gathers the weights for one backward pass of an update"),
        ({"class_path": "lightning.pytorch.strategies.FSDPStrategy"}, "FSDP gathers "),
        ({"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}, "ModelParallelStrategy takes one "),
    ],
)
def test_what_divides_one_network_cannot_train_a_gan(strategy, reason):
    with pytest.raises(UsageError) as caught:
        check_strategy(strategy, VOCODER)
    assert str(caught.value).startswith(TWO + reason)
    assert str(caught.value).endswith(": trainer.strategy: use --trainer configs/trainer/ddp.yaml")


def test_a_language_model_may_be_divided_where_it_says_how():
    check_strategy("fsdp", VALLE)
    with pytest.raises(UsageError, match="^VALLETask does not say how to divide itself"):
        check_strategy({"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}, VALLE)


def test_a_gan_under_deepspeed_is_refused_at_the_door(work, monkeypatch, capsys):
    """Without the package deepspeed, without the corpus, and before anything is prepared or written."""
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    flags = ["-c", "recipes/hifigan_prematch.yaml", "--trainer", "configs/trainer/deepspeed.yaml"]
    assert main(["fit", *flags]) == 2
    line = f"vocolab: error: {TWO}DeepSpeed takes one: trainer.strategy: use --trainer configs/trainer/ddp.yaml"
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("strategy", ["auto", "ddp", "ddp_fork", "ddp_spawn"])
def test_every_form_of_ddp_looks_for_unused_parameters(strategy, recipe, caplog):
    """Two processes without a word about the strategy, too: Lightning's own choice then looks for none."""
    flags = {"trainer.accelerator": "cpu", "trainer.devices": 2, "trainer.strategy": strategy}
    with caplog.at_level("INFO"):
        found = load_recipe(recipe, flags).trainer.strategy
    assert isinstance(found, DDPStrategy) and found._ddp_kwargs["find_unused_parameters"] is True
    assert "DDP looks for unused parameters (find_unused_parameters): " in caplog.text


@pytest.mark.parametrize("key, value", [("", "ddp_find_unused_parameters_false"), (".class_path", "DDPStrategy")])
def test_a_gan_whose_unused_parameters_are_not_looked_for_is_refused(key, value, recipe):
    flags = [f"--trainer.strategy{key}={value}", "--trainer.accelerator=cpu", "--trainer.devices=2"]
    with pytest.raises(UsageError, match="^each loss of VocoderTask leaves parameters out, and find_unused_parameters"):
        _ = Recipe(["-c", str(recipe), *flags]).trainer
