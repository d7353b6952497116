"""Paths as users write them, files that are written whole or not at all, and files of text that are read strictly."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import platform
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from vocolab.errors import UsageError, VocolabError

REMEDY = "free space or choose another place"
_LEFTOVER = re.compile(r"\..+-([0-9a-f]{6})-(\d+)-[0-9a-f]{8}\.tmp(?:\.\w+)?")  # see `_mark`
# PyTorch raises a plain RuntimeError where it cannot write a file: one of these words is in its message.
_TORCH_WRITES = re.compile(r"PytorchStreamWriter|inline_container|failed writing|file write|unexpected pos")


def local_path(path: str | Path) -> Path:
    """`path` with `~`, `~user` and the `$VAR` of the environment replaced; a relative path stays relative.

    The doors (commands, recipes, `load_recipe`, checkpoints) call this once for each path they are given, so that no
    two parts of the program can read the same path differently. Raises `UsageError` where a user or a variable is
    unknown: otherwise a folder named `~x` or `$X` would be made.
    """
    text = os.fspath(path)
    if not text:
        raise UsageError("a path is empty", "command line", "name a file or a folder")
    found = os.path.expanduser(text)
    if "$" in found and not os.path.exists(found):  # a dollar sign may also be part of a name
        found = os.path.expandvars(found)
    if not os.path.exists(found):
        if found.startswith("~"):
            raise UsageError(f"no user {found[1:].split(os.sep)[0]!r}", text, "write the path without ~")
        if unset := re.search(r"(?:^|/)(\$\w+|\$\{\w+\})(?=/|$)", found):
            raise UsageError(f"{unset[1]} is not set", text, "set the variable, or write the path without it")
    return Path(found)


def check_absent(path: Path, overwrite: bool) -> None:
    """Raise `VocolabError` if `path` exists and may not be replaced."""
    if not overwrite and Path(path).exists():
        raise VocolabError("output exists", path, "choose another name (--overwrite would replace it)")


def cannot_write(error: BaseException, path: Path, remedy: str = REMEDY) -> VocolabError | None:
    """The `VocolabError` for an error of a file system or of a library that writes files; None for any other error."""
    kind = type(error)
    from_library = kind.__module__.partition(".")[0] in ("safetensors", "safetensors_rust", "soundfile")
    from_torch = isinstance(error, RuntimeError) and _TORCH_WRITES.search(str(error))
    if not (isinstance(error, OSError) or from_library or from_torch):
        return None
    why = "the writer failed: the disk may be full" if from_torch else getattr(error, "strerror", None) or error
    return VocolabError(f"cannot write ({why})", path, remedy)


@contextlib.contextmanager
def atomic(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; rename it to `path` when the block ends, remove it when it
    raises.

    Raises `VocolabError` where `path` exists and `overwrite` is false, or where the file cannot be written, whichever
    library says so.
    """
    path = Path(path)
    check_absent(path, overwrite)
    temporary = path.with_name(f".{path.stem}-{_mark()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except Exception as error:
        if line := cannot_write(error, path):
            raise line from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _mark() -> str:
    """What tells temporary names apart, and says who writes there: machine, process, and a random part."""
    return f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove from a folder what `atomic` and `atomic_folder` left there unfinished in processes of this machine that
    are gone, because they were killed. Returns what was removed.

    It lists the folder, so a command does this once, not for each file. Windows cannot say whether a process runs
    without harming it: nothing is removed there.
    """
    removed: list[Path] = []
    if os.name == "nt" or not folder.is_dir():
        return removed
    for path in sorted(folder.iterdir()):
        found = _LEFTOVER.fullmatch(path.name)
        if found and found[1] == _machine() and not _runs(int(found[2])):
            with contextlib.suppress(OSError):
                remove = shutil.rmtree if path.is_dir() else os.unlink
                remove(path)
                removed.append(path)
    return removed


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def check_folder(folder: Path, names: Collection[str], overwrite: bool) -> None:
    """Raise `VocolabError` where `folder` is a file or holds something. With `overwrite`, files called `names` do not
    count: they may be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise VocolabError("a file, not a folder", folder, "name a folder that does not exist yet")
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if found and not overwrite:
        raise VocolabError("folder is not empty", folder, "choose another name (--overwrite would replace its files)")
    if others := [name for name in found if name not in names]:
        raise VocolabError(f"folder holds other files ({others[0]})", folder, "choose another name")


@contextlib.contextmanager
def atomic_folder(folder: str | Path, names: Collection[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; when the block ends, its files become those of `folder`, whose older
    ones called `names` are removed. Nothing changes when the block raises.

    Raises `VocolabError` where `check_folder` does, or where the files cannot be written.
    """
    folder = Path(folder).resolve()
    check_folder(folder, names, overwrite)
    temporary = folder.with_name(f".{folder.name}-{_mark()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        written = {path.name for path in temporary.iterdir()}
        if folder.exists():
            for name in sorted(written):
                os.replace(temporary / name, folder / name)
            for name in set(names) - written:
                (folder / name).unlink(missing_ok=True)
        else:
            os.rename(temporary, folder)
    except Exception as error:
        if line := cannot_write(error, folder):
            raise line from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
        remedy = f"save it as UTF-8, for example: iconv -f {likely} -t utf-8 FILE > NEW"
        raise VocolabError(what, f"{where}:{line}", remedy) from error
    return lines if lines[-1] else lines[:-1]  # a line end at the end of the data begins no further line
