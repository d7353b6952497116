"""A function of tensors in place, recorded once and then repeated as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch

Step = Callable[[], None]
Capture = Callable[[Step, torch.device], Step]

WARM_UP = 3  # calls before the recording, in which libraries choose kernels and allocate their workspaces


def eager(step: Step, device: torch.device) -> Step:
    """No recording: for tests on a CPU."""
    return step


def cuda_graph(step: Step, device: torch.device) -> Step:
    """`step` as a CUDA graph. It is called before it is recorded: set its tensors afterwards.

    Raises `RuntimeError` where the step waits for the device.
    """
    with torch.cuda.device(device), _casts_of_its_own(device):
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as those that load data, may use the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    return graph.replay


@contextmanager
def _casts_of_its_own(device: torch.device) -> Iterator[None]:
    """Autocast, where it is on, without its cache of converted weights: that is emptied when autocast ends, and a
    recorded step would go on to read from it.
    """
    dtype = autocast_dtype(device)
    with nullcontext() if dtype is None else torch.autocast(device.type, dtype, cache_enabled=False):
        yield


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype of autocast on `device`; None where it is off."""
    kind = device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None
