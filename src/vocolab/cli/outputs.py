"""Checks of the files that commands write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Set
from pathlib import Path

from vocolab.cli.progress import say
from vocolab.errors import UsageError, VocolabError
from vocolab.files import remove_leftovers

Identity = tuple[int, int]
OTHER_FORMATS = (".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aiff")


def check_is_wav(output: Path) -> None:
    """Raise `UsageError` where `output` is the name of a file of speech in another format."""
    if output.suffix.lower() in OTHER_FORMATS and not output.is_dir():
        raise UsageError("only .wav is written", output, "give OUT.wav or a folder")


def check_folder(folder: Path) -> None:
    """Raise `VocolabError` unless files can be written into `folder`, or it can be made."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise VocolabError("not a folder", there, "choose another -o")
    if not os.access(there, os.W_OK | os.X_OK):
        raise VocolabError("cannot write (no permission)", there, "choose another -o")


def identities(paths: Iterable[Path]) -> set[Identity]:
    """Which files these are, whatever their names: device and inode."""
    return {(status.st_dev, status.st_ino) for status in (path.stat() for path in paths)}


def check_output(target: Path, overwrite: bool, references: Set[Identity] = frozenset()) -> None:
    """Raise `VocolabError` where `target` exists and `overwrite` is false, or where it is one of `references`."""
    if not target.exists():
        return
    if identities([target]) & references:
        raise VocolabError("the output is a reference", target, "choose another -o")
    if not overwrite:
        raise VocolabError("output exists", target, "choose another -o or pass --overwrite")


def clear_leftovers(folders: Iterable[Path]) -> None:
    """Remove what killed commands left unfinished in these folders, and say so."""
    for folder in sorted(set(folders)):
        for path in remove_leftovers(folder):
            say(f"removed what a killed run left unfinished: {path}")
