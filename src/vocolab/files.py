"""Files that are written whole or not at all, and files of text that are read strictly."""

from __future__ import annotations

import codecs
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


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, with or without a byte order mark, without their ends.

    A line ends at `\\n`, `\\r\\n` or a `\\r` by itself. The other characters at which `str.splitlines` cuts (U+2028,
    U+0085, a form feed) belong to the text. Raises `VocolabError` where the file cannot be read or, naming the line,
    where it is not UTF-8.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VocolabError(f"cannot read the file ({error.strerror or error})", path, "give a file of text") from error
    return decode_lines(data, path)


def decode_lines(data: bytes, where: object) -> list[str]:
    """What `read_lines` returns for a file that holds `data`; `where` names it in an error."""
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        likely = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin1"
        what = f"not UTF-8 (byte 0x{data[error.start]:02x})"
        remedy = f"save it as UTF-8, as by: iconv -f {likely} -t utf-8 FILE > NEW"
        raise VocolabError(what, f"{where}:{line}", remedy) from error
    return lines if lines[-1] else lines[:-1]  # the last line may have an end or none
