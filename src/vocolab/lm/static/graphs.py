"""A function of tensors in place, recorded once and then repeated as it was."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vocolab.cudagraph import aside, record

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
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        for _ in range(WARM_UP):
            aside(step, stream)
        graph, _ = record(step, stream)
    return graph.replay


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype of autocast on `device`; None where it is off."""
    kind = device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None
