"""What a command may write over."""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

from vocolab.errors import VocolabError

Identity = tuple[int, int]


def identities(paths: Iterable[Path]) -> set[Identity]:
    """Which files these are, whatever their names: device and inode."""
    return {(status.st_dev, status.st_ino) for status in (path.stat() for path in paths)}


def check_output(target: Path, overwrite: bool, references: Set[Identity] = frozenset()) -> None:
    """Raise `VocolabError` where `target` exists and may not be replaced, which a reference may never be."""
    if not target.exists():
        return
    if identities([target]) & references:
        raise VocolabError("the output is a reference", target, "choose another -o")
    if not overwrite:
        raise VocolabError("output exists", target, "choose another -o or pass --overwrite")
