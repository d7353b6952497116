"""Training under `torch.compile`: one compiled function that all blocks of a backbone go through, and few lengths.

    backbone.compiled = Compiled()     # from now on whole sequences go compiled, in training and in evaluation
    backbone.compiled.padding()        # the share of the positions trained on that were padding

A model of equal blocks needs one compiled block, not one of the whole model: that takes a tenth of the time, works
inside of gradient checkpointing, and changes no name in a checkpoint. Sequences are padded to the lengths of `bucket`.
torch first compiles a block for one shape and, once it has met others, for any; where it does not find a form for any
length, there are at most as many forms as buckets. Decoding (`extend`) never goes compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 64  # positions; all buckets are multiples of it, hence of what kernels like best and of RetNet's chunks
FORMS = 256  # how many compiled forms of a block torch may keep: two networks, trained and evaluated, in each bucket

Call = TypeVar("Call", bound=Callable[..., Any])


def bucket(length: int) -> int:
    """The number of positions that sequences of `length` are padded to: multiples of 64 up to 1,024 and, beyond, eight
    between a power of two and the next. From 512 on at most an eighth is added, and 4 % on average.
    """
    step = max(SMALLEST, 1 << (length - 1).bit_length() >> 4)
    return -(-length // step) * step


def through(block: nn.Module, *arguments: object) -> Any:
    """What a block makes of its arguments. The block is an argument too, so that all have one compiled function."""
    return block(*arguments)


def uncompiled(function: Call) -> Call:
    """`function`, for a caller that may be compiled: it is then left out, since it works with numbers that differ from
    batch to batch, and each would have to be compiled anew.
    """
    return torch.compiler.disable(function) if torch.compiler.is_compiling() else function


class Compiled:
    """The blocks of any number of backbones, compiled by `backend` (the name of one of torch's)."""

    def __init__(self, backend: str = "inductor") -> None:
        import torch._dynamo  # takes seconds

        config: Any = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, FORMS)  # 8: beyond, torch would run uncompiled
        config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 4 * FORMS)
        config.optimize_ddp = False  # it cuts a graph in pieces to send gradients early; a block is such a piece
        self.through = torch.compile(through, backend=backend)
        self._positions = 0  # since the last call of `padding`, padding included
        self._real: Tensor | int = 0

    def padded(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, L, D), with lengths (B,), padded to its bucket."""
        length = bucket(x.shape[1])
        if torch.is_grad_enabled():
            self._positions += len(x) * length
            self._real = self._real + lengths.sum()
        return F.pad(x, (0, 0, 0, length - x.shape[1]))

    def padding(self) -> float | None:
        """The share of padding among the positions trained on since the last call; None where there were none."""
        positions, real = self._positions, self._real
        self._positions, self._real = 0, 0
        return 1 - float(real) / positions if positions else None
