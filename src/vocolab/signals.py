"""Signals that end a program as Ctrl-C does, so that it can clear up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupted_by(*names: str) -> Iterator[None]:
    """These signals, where the system knows them, do what Ctrl-C does. In a thread, where Python sets none, nothing
    changes.
    """
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for name in names if main and (number := getattr(signal, name, None))]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
