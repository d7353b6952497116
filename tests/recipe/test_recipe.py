"""Recipes are composed once and built when asked for."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from vocolab.data.module import SpeechDataModule
from vocolab.errors import UsageError
from vocolab.recipe import Recipe, load_recipe
from vocolab.tasks import VocoderTask


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_loading_has_no_side_effects(recipe):
    torch.manual_seed(3), random.seed(3)
    states = torch.get_rng_state(), random.getstate()
    before = sorted(recipe.parent.rglob("*")), dict(os.environ)
    loaded = load_recipe(recipe, {"trainer.max_steps": 3})
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert (sorted(recipe.parent.rglob("*")), dict(os.environ)) == before
    assert not {"data", "model", "trainer"} & set(vars(loaded))


def test_only_what_is_asked_for_is_built(recipe, monkeypatch):
    monkeypatch.setattr(VocoderTask, "__init__", lambda *_, **__: pytest.fail("built"))
    loaded = load_recipe(recipe, {"trainer.accelerator": "gpu", "trainer.devices": 9})
    assert isinstance(loaded.data, SpeechDataModule)
    assert loaded.data is loaded.data


def test_parts_are_built_from_the_recipe(recipe):
    loaded = load_recipe(recipe, {"trainer.max_steps": 3, "trainer.default_root_dir": Path("runs/here")})
    assert isinstance(loaded.model, VocoderTask) and isinstance(loaded.trainer, Trainer)
    assert loaded.trainer.max_steps == 3
    assert (
        loaded.trainer.default_root_dir == str(Path("runs/here").absolute())
        or loaded.trainer.default_root_dir == "runs/here"
    )
    assert loaded.model.vocoder.dim == 8
    assert loaded.trainer.check_val_every_n_epoch is None
    # Lightning's advice to install another logger, in a notebook as by the command.
    advice = logging.LogRecord("", logging.INFO, "", 0, "Tip: try installing [litlogger]", (), None)
    assert not logging.getLogger("lightning.pytorch.utilities.rank_zero").filter(advice)


def test_the_vocoder_is_as_wide_as_the_features(recipe):
    """No recipe states the width; neither does what is saved of one. With and without `${...}`, which once undid it."""
    assert "${" in recipe.read_text()
    assert load_recipe(recipe).model.vocoder.in_channels == 20
    assert load_recipe(recipe, {"data.encoder.n_mels": 33}).model.vocoder.in_channels == 33
    edit(recipe, "${seed_everything}", "7")
    assert load_recipe(recipe, {"data.encoder.n_mels": 33}).model.vocoder.in_channels == 33
    loaded = load_recipe(recipe)
    assert "in_channels" not in loaded.parser.dump(loaded.config, skip_unset=False)


def test_a_vocoder_without_features(recipe):
    with pytest.raises(UsageError, match="^a vocoder needs features: data.encoder: "):
        _ = load_recipe(recipe, {"data.encoder": None}).model


@pytest.mark.parametrize(
    "flag, line",
    [
        ("--data.encoder.hop=160", "the vocoder makes 320 samples a frame at 16000 Hz, the data has 160 at 16000 Hz: model.init_args.vocoder.init_args: use for example hop: 160, n_fft: 640"),
        ("--model.vocoder.sample_rate=24000", "the vocoder makes 320 samples a frame at 24000 Hz, the data has 320 at 16000 Hz: model.init_args.vocoder.init_args: set its sample_rate to 16000"),
        ("--data.sample_rate=24000", "the vocoder makes 320 samples a frame at 16000 Hz, the data has 480 at 24000 Hz: model.init_args.vocoder.init_args: set its sample_rate to 24000, and use for example hop: 480, n_fft: 1920"),
    ],
)  # fmt: skip
def test_a_vocoder_for_other_data(flag, line, recipe):
    with pytest.raises(UsageError) as caught:
        _ = Recipe(["-c", str(recipe), flag]).model
    assert str(caught.value) == line


def test_weights_come_from_the_seed(recipe):
    weights = [load_recipe(recipe, {"seed_everything": seed}).model.vocoder.head.weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_interpolation_is_over_the_composed_recipe(recipe):
    """Later files and flags count, and a slot file may refer to the recipe it is named in."""
    slot = recipe.parent / "slots" / "vocoder.yaml"
    edit(slot, "hidden: 8", "hidden: ${trainer.max_steps}")
    assert load_recipe(recipe).config.model.init_args.vocoder.init_args.hidden == 4
    loaded = load_recipe(recipe, {"trainer.max_steps": 6, "seed_everything": 11})
    assert loaded.config.model.init_args.vocoder.init_args.hidden == 6 and loaded.config.data.seed == 11
    (recipe.parent / "over.yaml").write_text("trainer: {max_steps: 5}")
    assert Recipe(["-c", str(recipe), "-c", "over.yaml"]).config.model.init_args.vocoder.init_args.hidden == 5


def test_slots_are_found_from_any_working_directory(recipe, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "wide.yaml").write_text("class_path: Vocos\ninit_args: {dim: 24, blocks: 1, hidden: 8}")
    monkeypatch.chdir(elsewhere)
    assert load_recipe(recipe).config.model.init_args.vocoder.init_args.dim == 8
    flags = ["-c", os.path.relpath(recipe), "--model.vocoder", "wide.yaml", "--model.vocoder.hidden=9"]
    init = Recipe(flags).config.model.init_args.vocoder.init_args
    assert (init.dim, init.hidden) == (24, 9)


def test_recipes_merge_deeply_and_callbacks_append(recipe):
    (recipe.parent / "over.yaml").write_text(
        "trainer: {max_steps: 3}\nmodel: {init_args: {vocoder: {init_args: {dim: 9}}}}\ndata: {batches: {init_args: {size: 5}}}"
    )
    config = Recipe(["-c", str(recipe), "-c", "over.yaml", "--trainer.callbacks+=Samples"]).config
    assert (config.trainer.max_steps, config.trainer.val_check_interval) == (3, 2)
    vocoder = config.model.init_args.vocoder.init_args
    assert (vocoder.dim, vocoder.hidden) == (9, 8)
    batches = config.data.batches.init_args
    assert (batches.size, batches.frames) == (5, 22)
    assert [c.class_path.split(".")[-1] for c in config.trainer.callbacks] == ["Timing", "Samples"]


def test_a_class_may_be_swapped(recipe):
    loaded = load_recipe(recipe, {"model.vocoder": "HiFiGAN", "model.vocoder.channels": 32})
    assert type(loaded.model.vocoder).__name__ == "HiFiGAN" and loaded.model.vocoder.in_channels == 20


TRAINERS = Path(__file__).parents[2] / "configs" / "trainer"


@pytest.mark.parametrize("name", sorted(p.stem for p in TRAINERS.glob("*.yaml")))
def test_trainer_files_merge_with_the_recipe(name, recipe):
    config = Recipe(["-c", str(recipe), "--trainer", str(TRAINERS / f"{name}.yaml")]).config.trainer
    assert config.max_steps == 4 and config.val_check_interval == 2
    wanted = yaml.safe_load((TRAINERS / f"{name}.yaml").read_text())
    assert set(wanted) - {"benchmark"} == {"accelerator", "devices", "strategy", "precision"}
    if isinstance(wanted["strategy"], dict):  # a class with all its arguments, of which the file names some
        wanted["strategy"] = wanted["strategy"]["init_args"]["config"]
        config.strategy = config.strategy.init_args.config
    assert {key: config[key] for key in wanted} == wanted


def test_the_trainer_file_yields_to_what_follows(recipe):
    flags = [
        "-c",
        str(recipe),
        "--trainer",
        str(TRAINERS / "cpu.yaml"),
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
    ]
    loaded = Recipe(flags)
    assert loaded.trainer.num_devices == 2
    strategy = loaded.trainer.strategy
    assert isinstance(strategy, DDPStrategy) and strategy._ddp_kwargs["find_unused_parameters"] is True


def test_the_distributed_sampler_stays_off(recipe):
    assert load_recipe(recipe).trainer._accelerator_connector.use_distributed_sampler is False
    with pytest.raises(UsageError, match="trainer.use_distributed_sampler"):
        _ = load_recipe(recipe, {"trainer.use_distributed_sampler": True}).trainer


@pytest.mark.parametrize("key, value", [("accelerator", "tpu"), ("val_check_interval", "soon"), ("devices", "none")])
def test_what_the_trainer_refuses_is_a_line(key, value, recipe):
    with pytest.raises(UsageError, match=": trainer: "):
        _ = load_recipe(recipe, {f"trainer.{key}": value}).trainer


def test_one_device_unless_told_otherwise(recipe):
    """On a machine with several GPUs, a batch must not silently become several."""
    text = recipe.read_text()
    recipe.write_text(text.replace("  devices: 1\n", ""))
    assert recipe.read_text() != text
    assert load_recipe(recipe).config.trainer.devices == 1


def test_the_run_folder_is_named_by_the_recipe(recipe):
    assert load_recipe(recipe).run_folder == Path("runs/tiny")


def test_a_logger_that_is_not_installed(recipe, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(UsageError, match="install it, or leave out the part that needs it$"):
        _ = load_recipe(recipe, {"trainer.logger": "WandbLogger"}).trainer


def test_whole_numbers_may_be_written_with_an_exponent(recipe):
    """In recipes and in flags, for keys of every depth; what is a file or a float stays so."""
    edit(recipe, "max_steps: 4", "max_steps: 1e5")
    edit(recipe, "size: 2", "size: 2e1")
    flags = ["--trainer.val_check_interval=5e3", "--checkpoint.every_n_train_steps", "2.5e3", "--model.vocoder.dim=1e1"]
    flags += ["--data.shards", "./1e5", "--trainer.default_root_dir=./1e5", "--model.optimizer.lr", "1e1"]
    config = Recipe(["-c", str(recipe), *flags, "--trainer.limit_val_batches", "1.0"]).config
    found = [config.trainer.max_steps, config.trainer.val_check_interval, config.checkpoint.every_n_train_steps]
    assert repr(found) == "[100000, 5000, 2500]"
    assert config.data.batches.init_args.size == 20 and config.model.init_args.vocoder.init_args.dim == 10
    assert (config.data.shards, config.trainer.default_root_dir) == ("1e5", "1e5")
    assert repr(config.model.init_args.optimizer.init_args.lr) == "10.0"
    assert repr(config.trainer.limit_val_batches) == "1.0"


@pytest.mark.parametrize(
    "flag, line",
    [
        ("--seed_everything=99999999999999999999", "a number of 20 digits: seed_everything: give at most 9223372036854775807"),
        ("--seed_everything=4294967296", "the seed is 4294967296: seed_everything: give 0 to 4294967295"),
        ("--seed_everything=-1", "the seed is -1: seed_everything: give 0 to 4294967295"),
        ("--trainer.max_steps=1e30", "a number of 31 digits: trainer.max_steps: give at most 9223372036854775807"),
        ("--model.vocoder.dim=1e30", "a number of 31 digits: model.init_args.vocoder.init_args.dim: give at most 9223372036854775807"),
        ("--trainer.max_steps=1.5e0", "trainer.max_steps is '1.5': command line: expected int"),
    ],
)  # fmt: skip
def test_numbers_that_are_too_large(flag, line, recipe):
    with pytest.raises(UsageError) as caught:
        Recipe(["-c", str(recipe), flag])
    assert str(caught.value) == line


def test_a_second_list_of_callbacks_says_what_it_replaces(recipe, caplog):
    over = recipe.parent / "over.yaml"
    with caplog.at_level("INFO"):
        over.write_text("trainer:\n  callbacks+: [Samples]\n")
        config = Recipe(["-c", "tiny.yaml", "-c", "over.yaml"]).config
        assert len(config.trainer.callbacks) == 2 and "replace" not in caplog.text
        over.write_text("trainer:\n  callbacks: [Samples]\n")
        assert len(Recipe(["-c", "tiny.yaml", "-c", "over.yaml"]).config.trainer.callbacks) == 1
    line = "over.yaml:2: these callbacks replace those of tiny.yaml:12; write `callbacks+:` to add to them"
    assert line in caplog.text


def test_a_list_of_callbacks_by_flag_says_what_it_replaces(recipe, caplog):
    with caplog.at_level("INFO"):
        assert len(Recipe(["-c", "tiny.yaml", "--trainer.callbacks+=Samples"]).config.trainer.callbacks) == 2
        assert "replace" not in caplog.text
        assert len(Recipe(["-c", "tiny.yaml", "--trainer.callbacks=[Samples]"]).config.trainer.callbacks) == 1
    line = "command line: these callbacks replace those of tiny.yaml:12; write --trainer.callbacks+= to add to them"
    assert line in caplog.text


KEEPS = "data.corpus: Folder keeps val: ['*-0003'] of BuiltinSpeech, which it replaces; set it to change it"


@pytest.mark.parametrize(
    "arguments, place",
    [
        (["-c", "over.yaml"], "over.yaml:2: "),
        (["--data.corpus=folder.yaml"], "folder.yaml:1: "),
        (["--data.corpus={class_path: Folder, init_args: {root: x}}"], "command line: "),
        (["--data.corpus=Folder", "--data.corpus.root=x"], "command line: "),
        (["--data.corpus.class_path=vocolab.data.corpora.Folder", "--data.corpus.root=x"], "command line: "),
        (["-c", "over.yaml", "--data.corpus.val=0.1"], None),
        (["--data.corpus.class_path=BuiltinSpeech"], None),
        (["--data.corpus.test=[a]"], None),
    ],
)
def test_a_class_that_keeps_arguments_of_the_one_it_replaces_says_so(arguments, place, recipe, caplog):
    old = next(line for line in recipe.read_text().splitlines() if "corpus:" in line)
    new = "  corpus: {class_path: BuiltinSpeech, init_args: {val: ['*-0003'], speakers: ['*']}}"
    recipe.write_text(recipe.read_text().replace(old, new))
    folder = recipe.parent / "folder.yaml"
    folder.write_text("class_path: Folder\ninit_args: {root: x}\n")
    (recipe.parent / "over.yaml").write_text("data:\n  corpus: {init_args: {root: x}, class_path: Folder}\n")
    with caplog.at_level("INFO"):
        config = Recipe(["-c", "tiny.yaml", *arguments]).config
    if place is None:
        assert "keeps" not in caplog.text
    else:
        assert config.data.corpus.init_args.val == ["*-0003"]
        assert f"{place}{KEEPS}" in caplog.text
