"""What a command over many files or texts shows while it runs and at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Display:
    """Lines on standard error, and on a terminal a bar below them where `open` has begun one."""

    _bar: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def open(self, total: int, columns: list[Any]) -> None:
        """Begin a bar of these columns of rich."""
        from rich.console import Console
        from rich.progress import Progress as Bar

        self._bar = Bar(*columns, console=Console(stderr=True))
        self._bar.add_task("", total=total)
        self._bar.start()

    def update(self, completed: int, **fields: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=completed, **fields)

    def say(self, line: str) -> None:
        if self._bar is None:
            say(line)
        else:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)


class Files(Display):
    """The files done: a bar of them on a terminal, and a line for each."""

    def __init__(self, total: int):
        self.total, self.done = total, 0

    def __enter__(self) -> Self:
        if self.total > 1 and sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            left = [TextColumn("done,"), TimeRemainingColumn(), TextColumn("left")]
            columns = [BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn(), *left]
            self.open(self.total, columns)
        return self

    def end(self, line: str) -> None:
        """One more file is done, or has failed, and this is to be said of it."""
        self.done += 1
        self.update(self.done)
        self.say(f"[{self.done}/{self.total}] {line}")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
