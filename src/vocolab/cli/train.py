"""fit, validate, test, predict: a recipe's trainer at work."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lightning.fabric.utilities import rank_zero_only
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer

from vocolab.callbacks import Predictions
from vocolab.checkpoints import is_folder_of_training, read_checkpoint, read_training
from vocolab.cli.lock import locked
from vocolab.errors import UsageError, VocolabError, out_of_memory
from vocolab.recipe import Recipe
from vocolab.recipe.mistakes import first_sentence
from vocolab.tasks import VocoderTask

T = TypeVar("T")
# Flags whose answer belongs on standard output; whatever else a recipe prints is progress.
PRINTING = ("-h", "--help", "--print_config")


def run(command: str, arguments: list[str]) -> int:
    """Run one method of the trainer. Only results go to standard output."""
    printing = any(a.split("=")[0] in PRINTING or a.endswith(".help") for a in arguments)
    with contextlib.nullcontext() if printing else contextlib.redirect_stdout(sys.stderr):
        recipe = Recipe(arguments, f"vocolab {command}")
        results: dict[str, float] = {}
        if command == "fit":
            fit(recipe)
        else:
            results = evaluate(recipe, command)
    if results and _is_first_rank():
        print(json.dumps(results))
    return 0


def _is_first_rank() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0  # Lightning sets it when it is imported


def fit(recipe: Recipe) -> None:
    """Prepare what is missing, then train. What can be checked is checked before the preparation, which may take
    hours.
    """
    checkpoint = _start(recipe)
    data, model, trainer = recipe.data, recipe.model, recipe.trainer
    _check_manual(model, trainer)
    if checkpoint is None:
        _check_start(model)
    elif isinstance(model, VocoderTask):  # a resume needs neither, and the files may be gone
        model.initialize_from = model.continue_from = None
    data.check()
    with locked(recipe.run_folder) if _is_first_rank() else contextlib.nullcontext():
        checkpoint = _start(recipe)  # again: another training may have ended here meanwhile
        data.prepare()  # before there is a process group: its collectives would time out on the ranks that wait
        _guarded(checkpoint, lambda: trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True))


def _check_start(model: LightningModule) -> None:
    """Read what training is to start from, and raise `VocolabError` where it cannot be read."""
    if (training := getattr(model, "continue_from", None)) is not None:
        read_training(training)
    weights = getattr(model, "initialize_from", None)
    if weights is not None and not is_folder_of_training(weights):
        read_checkpoint(weights)


def _start(recipe: Recipe) -> Path | None:
    """The checkpoint to go on from, or None. Raises `VocolabError` where `--ckpt_path` names none, or another run would
    be written over.
    """
    checkpoint = _checkpoint(recipe)
    _keep_other_runs(recipe, checkpoint)
    return checkpoint


def evaluate(recipe: Recipe, command: str) -> dict[str, float]:
    """The metrics of a checkpoint, by default the run's best; `predict` writes RUN/predictions/KEY.wav instead."""
    checkpoint = _checkpoint(recipe) or _newest(recipe)
    recipe.config.trainer.logger = False  # the run's own figures stay as training left them
    data, model, trainer = recipe.data, recipe.model, recipe.trainer
    data.prepare()
    if command == "predict":
        trainer.callbacks.append(Predictions(recipe.run_folder / "predictions"))  # type: ignore[attr-defined]
    method = getattr(trainer, command)
    more = {"return_predictions": False} if command == "predict" else {}
    results = _guarded(
        checkpoint, lambda: method(model, datamodule=data, ckpt_path=checkpoint, weights_only=True, **more)
    )
    return {key: value for row in results or [] for key, value in row.items()}


def _checkpoint(recipe: Recipe) -> Path | None:
    """The file that `--ckpt_path` means. Unlike Lightning, no value of the recipe is taken from it."""
    given = recipe.config.ckpt_path
    if given is None:
        return None
    if given not in ("last", "best"):
        path, remedy = Path(given), "give last, best or the path of a checkpoint"
    else:
        path = recipe.run_folder / "checkpoints" / f"{given}.ckpt"
        remedy = "name the run's folder with --trainer.default_root_dir, or a checkpoint with --ckpt_path FILE"
        if others := sorted(file.name for file in path.parent.glob("*.ckpt")):
            remedy = f"name another with --ckpt_path FILE: the folder has {', '.join(others)}"
    if not path.exists():
        raise VocolabError("no checkpoint to start from", path, remedy)
    return _usable(path, recipe)


def _newest(recipe: Recipe) -> Path:
    folder = recipe.run_folder / "checkpoints"
    for name in ("best", "last"):
        if (path := folder / f"{name}.ckpt").exists():
            return _usable(path, recipe)
    raise VocolabError("no checkpoint", folder, "train first, or name one with --ckpt_path")


def _usable(path: Path, recipe: Recipe) -> Path:
    """`path`, which exists. Raises `VocolabError` where the trainer could not go on from it."""
    if path.is_dir() and "deepspeed" in str(recipe.config.trainer.strategy).lower():
        return path  # DeepSpeed's kind of checkpoint; under any other strategy `read_checkpoint` says to export it
    if "pytorch-lightning_version" not in read_checkpoint(path):
        raise VocolabError("not the checkpoint of a run", path, "give a file that vocolab fit wrote")
    return path


def _keep_other_runs(recipe: Recipe, checkpoint: Path | None) -> None:
    """Refuse to write over the checkpoints of a run that is not being resumed."""
    folder = recipe.run_folder / "checkpoints"
    resumed = checkpoint is not None and checkpoint.resolve().parent == folder.resolve()
    # Other ranks may come here when the first has already written.
    if _is_first_rank() and not resumed and any(folder.glob("*.ckpt")):
        raise VocolabError(
            "the folder holds a run",
            recipe.run_folder,
            "go on with --ckpt_path last, or choose another --trainer.default_root_dir",
        )


def _check_manual(model: LightningModule, trainer: Trainer) -> None:
    """Refuse clipping and accumulation for a task that steps its own optimizers: Lightning does neither there."""
    if model.automatic_optimization:
        return
    task = type(model).__name__
    if trainer.gradient_clip_val:
        raise UsageError(
            f"{task} steps its own optimizers and does not clip", "trainer.gradient_clip_val", "leave it out"
        )
    if trainer.accumulate_grad_batches != 1:
        remedy = "raise the size of data.batches instead"
        raise UsageError(
            f"{task} steps its own optimizers and does not accumulate", "trainer.accumulate_grad_batches", remedy
        )


def _guarded(checkpoint: Path | None, call: Callable[[], T]) -> T:
    """Call the trainer; errors that a user can put right become one line."""
    try:
        return call()
    except MisconfigurationException as error:
        raise UsageError(first_sentence(str(error)), "trainer", "correct the recipe") from error
    except SystemExit as error:  # Lightning's answer to a second Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    except Exception as error:
        if checkpoint is not None and "loading state_dict" in str(error):
            problem = " ".join(str(error).split("\n\t")[1:2]).strip()
            remedy = "use the recipe it was trained with, as -c RUN/config.yaml"
            raise VocolabError(f"the checkpoint does not fit the model ({problem})", checkpoint, remedy) from error
        if out_of_memory(error):
            remedy = "lower --data.batches.tokens or --data.batches.size, or set gradient_checkpointing: true"
            raise VocolabError("out of memory", "data.batches", remedy) from error
        if "find_unused_parameters" in str(error):  # DDP's words, also where a spawned rank said them
            what = "an update left parameters without a gradient"
            raise UsageError(what, "trainer.strategy", "use --trainer configs/trainer/ddp.yaml") from error
        if type(error).__module__.startswith("wandb"):
            remedy = "log in with wandb login, or set WANDB_MODE=offline"
            raise VocolabError(f"W&B refuses ({first_sentence(str(error))})", "trainer.logger", remedy) from error
        raise
    finally:
        if wandb := sys.modules.get("wandb"):
            wandb.finish()  # so that a second run in this process is another run of W&B
