"""What a preparation shows, and how its ranks wait for each other."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from vocolab.data.preparation.work import Work
from vocolab.errors import VocolabError


def await_others(work: Work, ready: Callable[[], bool], what: str, patience: float, poll: float = 0.5) -> None:
    """Wait until `ready`. Raises `VocolabError` where no rank has got on for `patience` seconds."""
    beats, since = work.beats(), time.monotonic()
    while not ready():
        time.sleep(poll)
        now = work.beats()
        if now != beats:
            beats, since = now, time.monotonic()
        elif time.monotonic() - since > patience:
            waited = f"rank {work.rank} waited {patience:.0f} s for {what} and no rank got on"
            raise VocolabError(waited, work.shards, "see what the other ranks say, and run again to go on")


class Display:
    """Progress on standard error: on a terminal a line that changes, elsewhere a new line for every tenth."""

    def __init__(self, enabled: bool):
        self.enabled, self.terminal = enabled, sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Print a line, unless it is empty."""
        if self.enabled and text:
            print(text, file=sys.stderr, flush=True)

    def track(self, label: str, steps: Iterator[Any], weights: dict[Any, float]) -> Iterator[Any]:
        """Yield the steps, and show what share of their weights is done and how long the rest will take."""
        total, done, shown, start = sum(weights.values()) or 1.0, 0.0, -1.0, time.monotonic()
        for step in steps:
            done += weights[step]
            yield step
            left = (time.monotonic() - start) * (total - done) / done if done else 0
            text = f"{label}: {100 * done / total:3.0f} %, {_clock(left)} left"
            if self.terminal:
                self.say_over(text)
            elif done / total >= shown + 0.1 or done >= total:
                shown = done / total
                self.say(text)
        if self.terminal and done:
            self.end_line()

    def end_line(self) -> None:
        if self.enabled:
            print(file=sys.stderr, flush=True)

    def say_over(self, text: str) -> None:
        if self.enabled:
            print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


@contextlib.contextmanager
def beating(work: Work, every: float = 10.0) -> Iterator[None]:
    """Give the waiting ranks signs of life during work that reports no progress: a download, a slow listing."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every):
            work.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
