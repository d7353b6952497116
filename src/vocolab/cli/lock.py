"""The lock on a run's folder: one training at a time writes into it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from vocolab.errors import VocolabError
from vocolab.files import cannot_write

LOCK, OWNER = ".lock", ".lock-owner"  # the owner has a file of its own: locking empties the lock's
log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock the folder `run` for one training; of several ranks, the first locks it for all.

    The lock is gone when the process ends, however it ends. Raises `VocolabError` where another training holds it, with
    the number of its process and its machine, or where the folder cannot be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(error, run, "choose another --trainer.default_root_dir") or error from error
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        remedy = "wait for it to end, or choose another --trainer.default_root_dir"
        raise VocolabError(f"another training is at work in this folder{_owner(run)}", run, remedy) from error
    except (OSError, NotImplementedError):
        log.warning(f"{run}: this file system has no locks, so a second training here would not be noticed")
    try:
        with contextlib.suppress(OSError):
            (run / OWNER).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        for name in (OWNER, LOCK):
            with contextlib.suppress(OSError):
                (run / name).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            run.rmdir()  # nothing was written


def _owner(run: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if owner := (run / OWNER).read_text().strip():
            return f" ({owner})"
    return ""
