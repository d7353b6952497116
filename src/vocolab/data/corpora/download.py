"""Fetch archives: a download that broke off goes on where it stopped, and only whole files get their final name."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from vocolab.errors import VocolabError

BLOCK = 1 << 20


def fetch(url: str, target: Path, md5: str, timeout: float = 60.0) -> None:
    """Download `url` to `target` unless it is there. What has come so far waits in `target.part`.

    Raises `VocolabError` where the server cannot be reached, the disk refuses, or the file's md5 is not `md5`.
    """
    if target.exists():
        return
    part = target.with_name(target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _resume(url, part, timeout)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise VocolabError(f"download failed ({reason})", url, "run again to go on where it stopped") from error
    except OSError as error:
        raise VocolabError(
            f"cannot write ({error.strerror or error})", part, "free space or choose another folder"
        ) from error
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise VocolabError(f"md5 is {found}, expected {md5}", url, "run again to download it anew")
    part.replace(target)


def _resume(url: str, part: Path, timeout: float) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # no bytes from there on: the file is complete or another one, as its md5 tells
            return
        raise
    with reply:
        goes_on = reply.status == 206
        rest = int(reply.headers.get("Content-Length") or 0)
        total = rest + have * goes_on
        with open(part, "ab" if goes_on else "wb") as file:  # a server without ranges sends it from the start
            done = file.tell()
            while block := reply.read(BLOCK):
                file.write(block)
                before, done = done, done + len(block)
                if total and done * 20 // total > before * 20 // total:  # a line every 5 %
                    print(f"{url}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    if done < total:
        raise ConnectionError(f"connection lost after {done:,} of {total:,} bytes")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def unpack(archive: Path, member: str, target: Path) -> None:
    """Extract `archive` (tar.gz) and move its folder `member` to `target`, which appears only when it is whole."""
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        if not (temporary / member).is_dir():
            raise VocolabError(f"no folder {member} inside", archive, "move the file away and run again")
        (temporary / member).replace(target)
    except (tarfile.TarError, EOFError) as error:
        raise VocolabError(f"damaged archive ({error})", archive, "move the file away and run again") from error
    except OSError as error:
        raise VocolabError(f"cannot unpack ({error.strerror or error})", archive, "free space and run again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
