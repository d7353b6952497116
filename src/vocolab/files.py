"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from vocolab.errors import VocolabError


def check_absent(path: Path, overwrite: bool) -> None:
    """Raise `VocolabError` if `path` exists and may not be replaced."""
    if not overwrite and Path(path).exists():
        raise VocolabError("output exists", path, "choose another name or pass --overwrite")


@contextlib.contextmanager
def atomic(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; rename it to `path` when the block ends, remove it when it
    raises.

    Raises `VocolabError` where `path` exists and `overwrite` is false, or where the disk refuses.
    """
    path = Path(path)
    check_absent(path, overwrite)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise VocolabError(
            f"cannot write ({error.strerror or error})", path, "free space or choose another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
