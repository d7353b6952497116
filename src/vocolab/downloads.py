"""Fetch files: a download that broke off goes on where it stopped, and only whole files get their final name."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO

from filelock import FileLock

from vocolab.errors import VocolabError

BLOCK = 1 << 20


def fetch(
    url: str,
    target: Path,
    *,
    md5: str | None = None,
    sha256: str | None = None,
    progress: bool = True,
    timeout: float = 60.0,
) -> Path:
    """Download `url` to `target` unless it is there; returns `target`. What has come so far waits in `target.part`.

    `md5`, `sha256`: hexadecimal digests that the file must have. Without one, what waits is gone on with only where the
    server says that the file is still the same. `progress`: a line on standard error every 5 %. Of several processes
    that fetch one file, one does and the others wait. Raises `VocolabError` where the server cannot be reached, sends a
    web page or another file than expected, or the disk refuses.
    """
    if target.exists():
        return target
    part = target.with_name(target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if target.exists():  # another process has fetched it meanwhile
                return target
            _resume(url, part, md5 is not None or sha256 is not None, progress, timeout)
            for kind, expected in (("md5", md5), ("sha256", sha256)):
                _verify(url, part, kind, expected)
            part.replace(target)
            _tag(part).unlink(missing_ok=True)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise VocolabError(f"download failed ({reason})", url, "run again to go on where it stopped") from error
    except OSError as error:
        raise VocolabError(
            f"cannot write ({error.strerror or error})", part, "free space or choose another folder"
        ) from error
    except ValueError as error:  # urllib's, for what is no address
        raise VocolabError(f"download failed ({error})", url, "correct the address") from error
    return target


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Wait until no other process writes `part`. A file system without locks gives none."""
    lock = FileLock(part.with_name(f".{part.name}.lock"))
    try:
        lock.acquire()
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _tag(part: Path) -> Path:
    """The file that holds the server's tag of the version of which `part` is the beginning."""
    return part.with_name(part.name + ".tag")


def _resume(url: str, part: Path, checked: bool, progress: bool, timeout: float) -> None:
    """Bring `part` to its full length. `checked`: a digest will tell whether its beginning was of the same file."""
    have = part.stat().st_size if part.exists() else 0
    tag = _tag(part).read_text() if _tag(part).exists() else ""
    goes_on = bool(have and (checked or tag))
    headers = {"Range": f"bytes={have}-"} if goes_on else {}
    request = urllib.request.Request(url, headers=headers | ({"If-Range": tag} if headers and tag else {}))
    try:
        reply = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if goes_on and error.code == 416:  # no bytes from there on: the file is complete, or another one
            return
        raise
    with reply:
        if reply.headers.get_content_type() == "text/html":
            raise VocolabError("the server sent a web page", url, "open the address in a browser to see what it asks")
        goes_on = reply.status == 206  # a server without ranges, or with another version, sends it from the start
        _tag(part).write_text(_version(reply.headers))
        with open(part, "ab" if goes_on else "wb") as file:
            rest = int(reply.headers.get("Content-Length") or 0)
            _copy(reply, file, file.tell() + rest if rest else 0, url if progress else "")


def _version(headers: Message) -> str:
    """What names this version of a file in `If-Range`: its strong entity tag, else its date; "" where there is none."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _copy(reply: IO[bytes], file: IO[bytes], total: int, name: str) -> None:
    """Write `reply` into `file` up to `total` bytes (0: unknown), with a line every 5 % where there is a `name`."""
    done = file.tell()
    while block := reply.read(BLOCK):
        file.write(block)
        before, done = done, done + len(block)
        if name and total and done * 20 // total > before * 20 // total:
            print(f"{name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    if done < total:
        raise ConnectionError(f"connection lost after {done:,} of {total:,} bytes")


def _verify(url: str, part: Path, kind: str, expected: str | None) -> None:
    """Raise `VocolabError` and remove `part` where its digest is not the one expected."""
    if expected is None:
        return
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected:
        for path in (part, _tag(part)):
            path.unlink(missing_ok=True)
        raise VocolabError(f"{kind} is {found}, expected {expected}", url, "run again to download it anew")


def fetch_folder(
    url: str, archive: Path, member: str, target: Path, *, md5: str | None = None, sha256: str | None = None
) -> None:
    """Download the archive at `url` as `archive`, move its folder `member` to `target` and remove the archive."""
    fetch(url, archive, md5=md5, sha256=sha256)
    unpack(archive, member, target)
    archive.unlink()


def unpack(archive: Path, member: str, target: Path) -> None:
    """Extract `archive` (tar.gz, tar.bz2 or zip) and move its folder `member` (`.`: all it holds) to `target`, which
    appears only when it is whole.
    """
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as file:
                file.extractall(temporary)  # members named `../x` or `/x` stay within the folder too
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        if not (temporary / member).is_dir():
            raise VocolabError(f"no folder {member} inside", archive, "move the file away and run again")
        (temporary / member).replace(target)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise VocolabError(f"damaged archive ({error})", archive, "move the file away and run again") from error
    except OSError as error:
        raise VocolabError(f"cannot unpack ({error.strerror or error})", archive, "free space and run again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
