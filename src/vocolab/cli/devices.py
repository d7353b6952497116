"""The device that a command computes on."""

from __future__ import annotations

import torch

from vocolab.errors import UsageError


def usable_device(name: str | None) -> str:
    """The device asked for, or a GPU if there is one."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        what = f"device {name!r} cannot be used ({first})"
        raise UsageError(what, "--device", "give cpu, or leave it out") from error
    return name
