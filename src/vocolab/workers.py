"""Processes that work for this one, each at the other end of a connection."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any


def start(serve: Callable[..., None], *args: Any) -> tuple[BaseProcess, Connection]:
    """Start a process that runs `serve(connection, *args)`; returns it and this end of the connection.

    Ctrl-C is for this process, which ends its workers: they are deaf to it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_begin, args=(theirs,), daemon=True)
    with _deaf():
        process.start()
    theirs.close()
    # Not as arguments of the process: a large one would be waited on for ever where the script, which Python runs again
    # in each process that it starts, fails there.
    send(ours, (serve, args))
    return process, ours


def starting() -> bool:
    """Whether this process was started to work for another, and is still running the first lines of that one's script,
    as Python does in each process that it starts anew.
    """
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def send(connection: Connection, message: Any) -> None:
    """Send to a worker. One that has died is noticed where its answer is received."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(message)


def _begin(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    try:
        serve, args = connection.recv()
    except (EOFError, ConnectionResetError):  # the parent is gone
        return
    serve(connection, *args)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """A process that is started inherits that Ctrl-C is ignored: one still importing would print a traceback."""
    if threading.current_thread() is not threading.main_thread():  # handlers can be set there alone
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)
