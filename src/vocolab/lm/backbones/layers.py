"""What the layers of several backbones share."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vocolab.errors import UsageError

Linear = type[nn.Linear] | str | None  # the slot `linear` of every backbone


def linear_class(linear: Linear) -> type[nn.Linear]:
    """The class of a backbone's matrices: `nn.Linear`, or the one given as class, as dotted path, or as a bare name out
    of `vocolab.lm.backbones.bitnet`.
    """
    if linear is None:
        return nn.Linear
    if not isinstance(linear, str):
        return linear
    module, _, name = linear.rpartition(".")
    module = module or "vocolab.lm.backbones.bitnet"
    if module.split(".")[0] == "vocolab":  # a checkpoint must not choose what else gets imported
        try:
            importlib.import_module(module)
        except ImportError:
            pass
    cls = getattr(sys.modules.get(module), name, None)
    if not (inspect.isclass(cls) and issubclass(cls, nn.Linear)):
        raise UsageError("no such subclass of nn.Linear", linear, "import its module first, or give BitLinear or null")
    return cls


def linear_name(linear: Linear) -> str | None:
    """A plain value of the same meaning, for recipes and checkpoints (`parts.describe`)."""
    return linear if linear is None or isinstance(linear, str) else f"{linear.__module__}.{linear.__qualname__}"


def run(layer: Callable[..., Tensor], *arguments: object, checkpointed: bool) -> Tensor:
    """`layer(*arguments)`; `checkpointed`: its insides are computed again in the backward pass instead of kept."""
    if checkpointed and torch.is_grad_enabled():
        return checkpoint(layer, *arguments, use_reentrant=False)
    return layer(*arguments)


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """A fused projection (B, L, parts·D) as `parts` tensors (B, H, L, Dh)."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, Dh) -> (B, L, D)."""
    return x.transpose(1, 2).flatten(2)
