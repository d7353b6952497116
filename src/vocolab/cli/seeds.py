"""The seed of a command."""

from __future__ import annotations

from vocolab.errors import UsageError


def check_seed(seed: int) -> None:
    """Raise `UsageError` for a seed that PyTorch's generators do not take."""
    if not -(2**63) <= seed < 2**63:
        raise UsageError(f"--seed is {seed}", "command line", "give a whole number of 64 bits")
