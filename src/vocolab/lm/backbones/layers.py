"""What the layers of several backbones share."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.errors import UsageError
from vocolab.parts import check_imported

Linear = type[nn.Linear] | str | None  # the slot `linear` of every backbone


def linear_class(linear: Linear) -> type[nn.Linear]:
    """The class of a backbone's matrices: `nn.Linear` for None, or a subclass of it, given as class, as dotted path, or
    as a bare name out of `vocolab.lm.backbones.bitnet`.
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
    else:
        check_imported({"linear": linear}, f"linear: {linear}")
    cls = getattr(sys.modules.get(module), name, None)
    if not (inspect.isclass(cls) and issubclass(cls, nn.Linear)):
        raise UsageError("no such subclass of nn.Linear", linear, "correct the name, or give BitLinear or null")
    return cls


def linear_name(linear: Linear) -> str | None:
    """A plain value of the same meaning, for recipes and checkpoints (`parts.describe`)."""
    return linear if linear is None or isinstance(linear, str) else f"{linear.__module__}.{linear.__qualname__}"


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """A fused projection (B, L, parts·D) as `parts` tensors (B, H, L, Dh)."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, Dh) -> (B, L, D)."""
    return x.transpose(1, 2).flatten(2)


def project(x: Tensor, *matrices: nn.Module) -> Sequence[Tensor]:
    """x (B, L, D) times each of the matrices, which are of one class. If that class rounds its input first (`rounds` of
    `BitLinear`), x is rounded once for all of them. Where they were made one matrix for decoding (`joined`, see
    `lm/static/layers.py`), x is multiplied once.
    """
    joined = getattr(matrices[0], "joined", None)
    if joined is not None:
        return joined(x)
    rounds = getattr(matrices[0], "rounds", None)
    read = x if rounds is None else rounds(x)
    return [matrix(read) for matrix in matrices]


def require_heads(dim: int, heads: int) -> None:
    """Heads must divide the width into even parts (positions turn pairs of channels)."""
    if dim % (2 * heads):
        raise UsageError("the width of a head is odd or no whole number", f"dim {dim}, heads {heads}", "change either")


def repeating(rates: Tensor, period: int | None) -> Tensor:
    """Rates in radians a position, rounded to whole turns in `period` positions, so that position n + period is
    position n; None leaves them. Waves longer than two periods become constant.
    """
    if period is None:
        return rates
    turn = 2 * math.pi / period
    return (rates / turn).round() * turn


def initialise(model: nn.Module, residual: tuple[str, ...], layers: int) -> None:
    """Normal weights of deviation 0.02. The matrices named `residual` write to the residual stream, two a layer: for
    them it is divided by the root of the number of writes, so that the stream's variance does not grow with depth
    (GPT-2, 2.3).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            last = name.rpartition(".")[2]
            nn.init.normal_(module.weight, std=0.02 / (2 * layers) ** 0.5 if last in residual else 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SwiGLU(nn.Module):
    """Gated feed-forward layer: down(silu(gate x) · up x), gate and up as one matrix (Shazeer 2020)."""

    def __init__(self, dim: int, ffn: int, linear: Linear = None) -> None:
        super().__init__()
        Matrix = linear_class(linear)
        self.gate_up = Matrix(dim, 2 * ffn, bias=False)
        self.down = Matrix(ffn, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)
