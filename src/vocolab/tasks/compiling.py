"""Switching on `torch.compile` for the training of a language model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy, Strategy
from torch import nn

from vocolab.errors import UsageError, VocolabError
from vocolab.lm.backbones.base import Backbone
from vocolab.lm.backbones.compiled import Compiled
from vocolab.lm.backbones.stack import Stack

KEY = "model.compile"


def compile_backbones(lm: nn.Module, backend: str, strategy: Strategy) -> Compiled:
    """Let the backbones of `lm` go compiled. Raises `UsageError` where the strategy or a backbone cannot."""
    check_strategy(strategy)
    backbones = [part for part in lm.modules() if isinstance(part, Backbone)]
    for backbone in backbones:
        if not isinstance(backbone, Stack):
            what = f"{type(backbone).__name__} cannot be compiled: it is not made of equal blocks (Stack)"
            raise UsageError(what, KEY, "set it to false")
    with readable_failures():
        compiled = Compiled(backend)
    for backbone in backbones:
        assert isinstance(backbone, Stack)
        backbone.compiled = compiled
    return compiled


def check_strategy(strategy: Strategy) -> None:
    """Raises `UsageError` where the weights of a block are not whole when it runs."""
    if isinstance(strategy, DeepSpeedStrategy):
        stage = (strategy.config or {}).get("zero_optimization", {}).get("stage", 0)
        if stage > 2:
            what = f"ZeRO stage {stage} divides the weights, and a compiled block needs them whole"
            raise UsageError(what, KEY, "set it to false, or take stage 2")
    elif not isinstance(strategy, (SingleDeviceStrategy, DDPStrategy)):
        what = f"not known to work with {type(strategy).__name__}"
        raise UsageError(what, KEY, "set it to false, or train on one device, with DDP or with DeepSpeed")


@contextmanager
def readable_failures() -> Iterator[None]:
    """Inside, what torch says when it cannot compile becomes a `VocolabError`."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        why = " ".join(str(error).split("\n\n")[0].split())  # advice for developers of torch follows
        remedy = "set it to false, or correct the name of the back end, or install what it needs"
        raise VocolabError(f"the model cannot be compiled ({why})", KEY, remedy) from error
