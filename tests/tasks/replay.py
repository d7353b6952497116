"""Stands in for CUDA graphs on a CPU: what a function computes is recorded operation by operation, and repeated without
the function, as a graph repeats its kernels. So what a graph would get wrong is wrong here too: numbers of Python that
have changed since, tensors that are no longer the same. And what asks the device for a value is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.capturing import Capturing
from vocolab.tasks.graph import Recorder, Terms


class Operations(TorchDispatchMode):
    """Keeps each operation with its arguments and what it made."""

    def __init__(self):
        super().__init__()
        self.done: list[tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = tree_map_only(torch.Tensor, torch.detach, (args, kwargs or {}))  # as they are shaped now: `transpose_`
        made = func(*args, **(kwargs or {}))
        if not func.is_view and torch.Tag.inplace_view not in func.tags:  # those go on showing the same memory
            self.done.append((func, given, tree_map_only(torch.Tensor, torch.detach, made)))
        return made

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)  # the casts are among the operations
    def repeat(self) -> None:
        for func, (args, kwargs), made in self.done:
            again = func(*args, **kwargs)
            if not any(result.alias_info for result in func._schema.returns):  # else it was written in place
                for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor):
                        old.copy_(new)


class CPURecorder(Recorder):
    """A CPU cannot record without computing: recording does the first of the repetitions too."""

    def __init__(self, device: torch.device | None = None):
        self.ran = self.recorded = self.replayed = 0

    def run(self, function: Callable[[], Terms]) -> Terms:
        self.ran += 1
        return function()

    def record(self, function: Callable[[], Terms]) -> Callable[[], Terms]:
        self.recorded += 1
        random = torch.get_rng_state()
        try:
            with Capturing(), Operations() as operations:
                made = function()
        except RuntimeError:
            torch.set_rng_state(random)  # on a GPU nothing was drawn
            raise
        fresh = True

        def replay() -> Terms:
            nonlocal fresh
            self.replayed += 1
            if not fresh:
                operations.repeat()
            fresh = False
            return made

        return replay


class Refusing(CPURecorder):
    def record(self, function: Callable[[], Terms]) -> Callable[[], Terms]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")
