"""What a command over many files shows while it runs and at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Files:
    """On standard error: on a terminal a bar of the files done, below the lines that are said; elsewhere the lines."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self._bar: Bar | None = None

    def __enter__(self) -> Files:
        if self.total > 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
            left = (TextColumn("done,"), TimeRemainingColumn(), TextColumn("left"))
            self._bar = Bar(*columns, *left, console=Console(stderr=True))
            self._bar.add_task("", total=self.total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def end(self, line: str) -> None:
        """One more file is done, or has failed, and this is to be said of it."""
        self.done += 1
        line = f"[{self.done}/{self.total}] {line}"
        if self._bar is None:
            say(line)
        else:
            self._bar.update(self._bar.task_ids[0], completed=self.done)
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
