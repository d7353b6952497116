"""Recipes: composed by LightningCLI with OmegaConf, their parts built when asked for."""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities import rank_zero_info
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from omegaconf.errors import OmegaConfBaseException

import vocolab.tasks  # noqa: F401  (a bare `class_path: VocoderTask` is found among the classes that are imported)
from vocolab.callbacks import Checkpoint, Progress, Summary
from vocolab.data.batches import TokenBudget
from vocolab.data.module import SpeechDataModule
from vocolab.errors import UsageError
from vocolab.files import atomic
from vocolab.imports import import_parts, load_entry_points
from vocolab.recipe import loggers, paths
from vocolab.recipe.layers import kept_arguments, replaced_callbacks
from vocolab.recipe.mistakes import check_top_keys, explain, first_sentence, raised_by_a_part
from vocolab.recipe.nulls import check_nulls
from vocolab.recipe.numbers import check_sizes, whole_flags
from vocolab.recipe.sources import PARSER_MODE, Sources
from vocolab.recipe.strategies import check_strategy, find_unused

ROOTS = {"data": SpeechDataModule, "trainer": Trainer, "checkpoint": Checkpoint, "model": LightningModule}


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None, imports: Sequence[str] = ()) -> Recipe:
    """Read a recipe, some of its keys overridden, as `{"trainer.max_steps": 2}`. Nothing is built or seeded yet.

    `imports`: modules with parts of one's own (`vocolab.imports`), beside those that the recipe names. Raises
    `UsageError`, one line, for whatever is wrong with it.
    """
    flags = [f"--{key}={_flag(value)}" for key, value in (overrides or {}).items()]
    return Recipe(["-c", str(path), *flags, *(f"--import={name}" for name in imports)])


def _flag(value: Any) -> str:
    return str(value) if isinstance(value, (str, Path)) else json.dumps(value)


class SaveConfig(SaveConfigCallback):
    """RUN/config.yaml: the whole composed recipe, written anew by each `fit`; `-c RUN/config.yaml` repeats it.

    Its paths are absolute and the folder of the shards is named, so that it holds from any working directory.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            config = self.config.clone()
            config.ckpt_path = None  # how this part of the run began is not part of the recipe
            data: SpeechDataModule = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it undeclared
            config.data.shards = str(data.folder())
            paths.make_absolute(config, ROOTS)
            with atomic(Path(trainer.default_root_dir) / "config.yaml") as temporary:
                temporary.write_text(self.parser.dump(config, skip_unset=False))


class Recipe(LightningCLI):
    """A composed recipe. `data`, `model` and `trainer` are built when first asked for, and nothing else with them."""

    def __init__(self, arguments: Sequence[str], prog: str = "vocolab fit"):
        self.sources = Sources.of(arguments)
        load_entry_points()
        self.imports = [
            name for module, where, folders in self.sources.imports() for name in import_parts([module], where, folders)
        ]  # before parsing, which looks for classes among those that are imported
        try:
            super().__init__(
                LightningModule,
                SpeechDataModule,
                subclass_mode_model=True,
                save_config_callback=SaveConfig,
                save_config_kwargs={"save_to_log_dir": False},
                trainer_defaults={
                    "default_root_dir": self._default_run(),
                    "devices": 1,  # a recipe's batch size is that of one process: more of them are asked for
                    "use_distributed_sampler": False,
                },
                seed_everything_default=0,
                # Parsed without subcommands, `${a.b}` resolves over the whole composed recipe wherever it stands, slot
                # files included. Under one it needs omegaconf_absolute_to_relative_paths, and ends at the file.
                run=False,
                parser_kwargs={
                    "prog": prog,
                    "description": "A recipe and the keys that override it.",
                    "parser_mode": PARSER_MODE,
                    "exit_on_error": False,
                    "allow_abbrev": False,
                    "dump_header": [],
                },
                args=whole_flags(self.sources.arguments),
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
        except (argparse.ArgumentError, OmegaConfBaseException) as error:
            raise explain(error, self.sources, self.parser, ROOTS) from error

    def _default_run(self) -> str:
        return str(Path("runs") / (self.sources.recipes[0].stem if self.sources.recipes else "unnamed"))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_argument(
            "--import",
            type=list[str] | str | None,
            default=None,
            help="modules with parts of your own: package.module, or the path of a .py file; may be repeated",
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="what to start from: last, best or a file"
        )
        # Declared so that no recipe, nor a run's config.yaml, states the width; `model` applies it. jsonargparse would
        # not: resolving `${...}` drops the targets of links, and a link without its target is silently skipped.
        parser.link_arguments(
            "data.feature_dim", "model.init_args.vocoder.init_args.in_channels", apply_on="instantiate"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        self.config["import"] = list(dict.fromkeys(self.imports)) or None
        check_top_keys(self.sources, parser)
        for line in (*replaced_callbacks(self.sources), *kept_arguments(self.sources, self.config)):
            rank_zero_info(line)
        check_nulls(self.config, ROOTS, self.sources)
        check_sizes(self.config)
        paths.read_paths(self.config, ROOTS)
        paths.settle(self.config, ROOTS, self.sources.recipes)

    def _set_seed(self) -> None:
        """Loading has no side effects: `model` seeds."""

    def instantiate_classes(self) -> None:
        """Parts are built when asked for."""

    @property
    def run_folder(self) -> Path:
        return Path(self.config.trainer.default_root_dir)

    @cached_property
    def data(self) -> SpeechDataModule:
        """The data module. Neither model nor trainer is built for it."""
        return self._instantiate(data=self.config.data).data

    @cached_property
    def model(self) -> LightningModule:
        """The task with its parts, their weights drawn from `seed_everything`."""
        _match_codes(self.config.model.get("init_args.lm"), self.data)  # into the recipe itself: config.yaml states it
        config = self.config.model.clone()
        _widen(config.get("init_args.vocoder"), self.data)
        if self.config.seed_everything is not False:
            seed_everything(
                None if self.config.seed_everything is True else self.config.seed_everything,
                workers=True,
                verbose=False,
            )
        model = self._instantiate(model=config).model
        _check_fit(self.data, model)
        return model

    @cached_property
    def trainer(self) -> Trainer:  # type: ignore[override]  # LightningCLI builds all at once and assigns it
        """The trainer with its loggers and callbacks; everything goes to the run folder."""
        _quiet()
        config = self.config.trainer.clone()
        _check_trainer(config)
        check_strategy(config.strategy, self.config.model.class_path)
        config.logger = loggers.in_run(config.logger, self.run_folder)
        try:
            self.config_init = self._instantiate(trainer=config, checkpoint=self.config.checkpoint)
            self.config_init.trainer.logger = loggers.complete(self.config_init.trainer.logger, self.run_folder)
            self.config_init.trainer.callbacks = _with_progress(self.config_init.trainer)
            if self.config_init.trainer.logger:
                self.config_init.trainer.callbacks.append(Summary(["fit", *self.sources.arguments]))
            trainer = self.instantiate_trainer()
        except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
            raise UsageError(
                first_sentence(str(error)), "trainer", "choose another --trainer file, as configs/trainer/cpu.yaml"
            ) from error
        find_unused(trainer.strategy, self.config.model.class_path)
        return trainer

    def _instantiate(self, **slots: Namespace) -> Namespace:
        """The slots given, as objects; a parser of these slots alone keeps the others out."""
        parser = self.init_parser(**self.parser_kwargs)
        for slot in slots:
            parser.add_lightning_class_args(ROOTS[slot], slot, subclass_mode=slot == "model")
        try:
            return parser.instantiate(Namespace(**slots))
        except Exception as error:
            cause = raised_by_a_part(error)
            if cause is error:
                raise
            raise cause from None


def _quiet() -> None:
    """Silence what Lightning says that tells a user of recipes nothing."""
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # torch's warning, meant for Lightning
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # as a codec should be
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_advertisement)


def _no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def _with_progress(trainer: Namespace) -> list[Callback]:
    """The recipe's callbacks, and our progress bar unless it has one or wants none."""
    callbacks = trainer.callbacks or []
    callbacks = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    if trainer.enable_progress_bar is False or any(isinstance(callback, ProgressBar) for callback in callbacks):
        return callbacks
    return [*callbacks, Progress()]


def _widen(vocoder: Namespace | None, data: SpeechDataModule) -> None:
    """Give a vocoder the width of the features."""
    if vocoder is None:
        return
    if not data.feature_dim:
        raise UsageError(
            "a vocoder needs features", "data.encoder", "name an encoder, as ../configs/encoder/wavlm_large.yaml"
        )
    vocoder["init_args.in_channels"] = data.feature_dim


def _match_codes(lm: Namespace | None, data: SpeechDataModule) -> None:
    """Give a language model, and what it is made of, the codec's numbers of codebooks and of codes."""
    if lm is None:
        return
    if not data.levels:
        raise UsageError(
            "a language model needs codes", "data.codec", "name a codec, as ../configs/codec/encodec_24khz.yaml"
        )
    if data.text is None:
        raise UsageError("a language model needs texts", "data.text", "name one, as ../configs/text/phonemes.yaml")
    if not isinstance(data.batches, TokenBudget):
        what = f"a language model needs prompts, {type(data.batches).__name__} has none"
        raise UsageError(what, "data.batches", "set its class_path to TokenBudget")
    for part in (lm, lm.get("init_args.ar"), lm.get("init_args.nar")):
        for name in ("levels", "size"):
            if part is not None and f"init_args.{name}" in part:
                part[f"init_args.{name}"] = getattr(data, name)
        if part is not None and part.get("init_args.backbone.init_args.adaptive_levels"):
            part["init_args.backbone.init_args.adaptive_levels"] = data.levels


def _check_fit(data: SpeechDataModule, model: LightningModule) -> None:
    """Refuse a vocoder whose rate or hop is not that of the features, and losses that hear another rate than its."""
    vocoder = getattr(model, "vocoder", None)
    if (
        vocoder is not None
        and data.encoder is not None
        and (vocoder.hop, vocoder.sample_rate) != (data.hop, data.sample_rate)
    ):
        what = f"the vocoder makes {vocoder.hop} samples a frame at {vocoder.sample_rate} Hz"
        what += f", the data has {data.hop} at {data.sample_rate} Hz"
        remedies = [f"set its sample_rate to {data.sample_rate}"] if vocoder.sample_rate != data.sample_rate else []
        remedies += [vocoder.fitting(data.hop)] if vocoder.hop != data.hop else []
        raise UsageError(what, "model.init_args.vocoder.init_args", ", and ".join(remedies))
    for loss in getattr(model, "losses", ()):
        if vocoder is not None and (rate := getattr(loss, "sample_rate", vocoder.sample_rate)) != vocoder.sample_rate:
            what = f"{type(loss).__name__} hears {rate} Hz, the vocoder speaks {vocoder.sample_rate} Hz"
            raise UsageError(what, "model.init_args.losses", f"set its sample_rate to {vocoder.sample_rate}")


def _check_trainer(config: Namespace) -> None:
    if config.use_distributed_sampler:
        raise UsageError(
            "the plan already divides batches among ranks", "trainer.use_distributed_sampler", "leave it out"
        )
