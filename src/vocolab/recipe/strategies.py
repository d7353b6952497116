"""Which strategies of Lightning a task can train under."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from lightning.fabric.utilities import rank_zero_info
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
    StrategyRegistry,
)

from vocolab.errors import UsageError
from vocolab.extras import install
from vocolab.recipe.mistakes import installed, nearest

WHERE = "trainer.strategy"
REMEDY = "use --trainer configs/trainer/ddp.yaml"
# Each of these divides one network and its one optimizer among the processes.
DIVIDING: dict[type[Strategy], str] = {
    DeepSpeedStrategy: "DeepSpeed takes one",
    FSDPStrategy: "FSDP gathers the weights for one backward pass of an update",
    ModelParallelStrategy: "ModelParallelStrategy takes one network",
}


def check_strategy(strategy: Any, task: str) -> None:
    """Refuse a strategy that is unknown or cannot run here or with the task of that class path. Nothing is built, and
    DeepSpeed itself is not needed to refuse it.
    """
    kind, module = _class_of(strategy), _imported(task)
    if module.automatic_optimization is False:
        for dividing, reason in DIVIDING.items():
            if issubclass(kind, dividing):
                what = (
                    f"{module.__name__} steps its optimizers itself (manual optimisation; a GAN has two), and {reason}"
                )
                raise UsageError(what, WHERE, REMEDY)
    if issubclass(kind, ModelParallelStrategy) and module.configure_model is LightningModule.configure_model:
        what = f"{module.__name__} does not say how to divide itself (it has no configure_model)"
        raise UsageError(what, WHERE, REMEDY)
    if issubclass(kind, DeepSpeedStrategy):
        _check_deepspeed()


def _check_deepspeed() -> None:
    if not installed("deepspeed"):
        raise UsageError("the package deepspeed is missing", WHERE, install("deepspeed"))
    if not torch.cuda.is_available():  # Lightning says so too, but after the hours of preparation
        raise UsageError(
            "DeepSpeed needs a CUDA GPU", "trainer", "choose another --trainer file, as configs/trainer/cpu.yaml"
        )


def find_unused(strategy: Strategy, task: str) -> None:
    """Let DDP look for the parameters that an update leaves without a gradient, unless the recipe says false.

    Each of a GAN's two losses leaves some out, and so may a mixture's choice of experts. Raises `UsageError` where the
    recipe says false for a task that steps its own optimizers, which would end in its first update.
    """
    if not isinstance(strategy, DDPStrategy):
        return
    arguments = strategy._ddp_kwargs  # what becomes the arguments of DistributedDataParallel
    if "find_unused_parameters" not in arguments:
        arguments["find_unused_parameters"] = True
        rank_zero_info(
            "DDP looks for unused parameters (find_unused_parameters): "
            "each of a GAN's losses leaves parameters out, and so may a mixture's choice of experts"
        )
    if not arguments["find_unused_parameters"] and (module := _imported(task)).automatic_optimization is False:
        what = f"each loss of {module.__name__} leaves parameters out, and find_unused_parameters is false"
        raise UsageError(what, WHERE, f"set it to true, or {REMEDY}")


def _class_of(strategy: Any) -> type:
    """The class that `strategy`, a name or the description of a class, means; `Strategy` for auto."""
    if not isinstance(strategy, str):
        return _imported(strategy["class_path"])
    if strategy == "auto":
        return Strategy
    names = StrategyRegistry.available_strategies()
    if strategy not in names:
        raise UsageError(f"no such strategy {strategy!r}", WHERE, nearest(strategy, names))
    return StrategyRegistry[strategy]["strategy"]


def _imported(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)
