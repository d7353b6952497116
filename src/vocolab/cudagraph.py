"""What a function does on a GPU, recorded as a CUDA graph: its kernels then start in one launch instead of one by one.

    for _ in range(3):
        aside(function, stream)             # libraries choose kernels and allocate
    graph, made = record(function, stream)
    graph.replay()                          # the same kernels on the same memory: fills the tensors in `made` anew

Nothing in the function may wait for the device. Numbers of Python in it are recorded as they are; what changes between
two replays lies in tensors that are written before each. Random numbers are drawn anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Made = TypeVar("Made")


def aside(function: Callable[[], Made], stream: torch.cuda.Stream) -> Made:
    """Call `function` as it will be recorded: on `stream`, where its backward passes and workspaces then belong."""
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream), _no_kept_casts():
        made = function()
    current.wait_stream(stream)
    return made


def record(
    function: Callable[[], Made], stream: torch.cuda.Stream, pool: Any = None
) -> tuple[torch.cuda.CUDAGraph, Made]:
    """The graph of `function` and what it returned; nothing of it is computed yet. `pool`: memory that it shares with
    graphs that never run at the same time.

    Raises `RuntimeError` where the function cannot be recorded, and leaves torch as it was.
    """
    graph = torch.cuda.CUDAGraph()
    reason: RuntimeError | None = None
    try:
        # torch goes on using the stream of a recording that fails, hence the first context.
        with torch.cuda.stream(torch.cuda.current_stream(stream.device)), _no_kept_casts():
            # By default no other thread could use the device meanwhile: a loader's pins memory for the next batches.
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                try:
                    made = function()
                except RuntimeError as error:
                    reason = error  # afterwards torch only says that there was an error
                    raise
    except RuntimeError as error:
        _let_draw(stream.device)
        raise (reason or error) from None
    return graph, made


@contextmanager
def _no_kept_casts() -> Iterator[None]:
    """Autocast keeps the weights it has converted until it ends. A recording would go on reading them afterwards."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _let_draw(device: torch.device) -> None:
    """After a failed recording torch 2.11 takes its generator to be recorded still, and each draw from it raises
    "Offset increment outside graph capture". A copy of its state, which has the same seed and place, knows of no
    recording.
    """
    generator = torch.cuda.default_generators[device.index]
    generator.graphsafe_set_state(generator.clone_state())
