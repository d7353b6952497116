"""The errors that commands print as one line, without a traceback: every other exception is a bug."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class VocolabError(Exception):
    """What is wrong, where, and what to do about it. `status` is the exit status of a command that ends with it."""

    status = 1

    def __init__(self, what: str, where: object = "", remedy: str = ""):
        self.what, self.where, self.remedy = what, str(where), remedy
        line = ": ".join(part for part in (what, str(where), remedy) if part)
        super().__init__(" ".join(line.split()))  # one line, whatever a wrapped library's message held


class UsageError(VocolabError):
    """The command line or the recipe is at fault, not the data."""

    status = 2


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out. On a GPU the error has a type of its own, on a CPU only words."""
    import torch  # here: every command imports this module, and a help text must not wait for torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"out of memory|can't allocate memory", str(error)))


@contextmanager
def memory_told(remedy: str, where: object = "", what: str = "out of memory") -> Iterator[None]:
    """Where memory runs out in this block, a `VocolabError` says so."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise VocolabError(what, where, remedy) from error
