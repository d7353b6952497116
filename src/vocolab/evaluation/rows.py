"""The measured utterances of an evaluation that is under way: a row each, on disk as soon as it is known, so that a
killed evaluation goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vocolab.errors import VocolabError
from vocolab.files import atomic, cannot_write


@dataclass
class Row:
    """What was measured of one utterance."""

    key: str
    task: str = ""
    numbers: dict[str, list[float]] = field(default_factory=dict)  # by metric, see `Metric.measure`
    unmeasured: dict[str, str] = field(default_factory=dict)  # by metric: why
    seconds: float | None = None
    reference_seconds: float | None = None
    note: str = ""  # what is to be said of it
    failed: str = ""  # why there is no speech to measure


class Rows:
    """A folder that is filled with the rows of an evaluation, and renamed when all are there."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], overwrite: bool = False):
        """`folder`: where the results will lie. `identity`: what decides the figures.

        Raises `VocolabError` where unfinished rows of another evaluation lie there and `overwrite` is false, or where
        another process is at work on them.
        """
        self.folder = folder.absolute().with_name(f".{folder.absolute().name}.unfinished")
        self.rows: dict[str, Row] = {}
        self._final, self._file = folder.absolute(), self.folder / "rows.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise VocolabError("another evaluation is at work on it", folder, "wait, or choose another -o") from error
        except OSError as error:
            raise cannot_write(error, folder, "choose another -o") or error from error
        self._begin(json.loads(json.dumps(identity)), overwrite)

    def _begin(self, identity: dict[str, Any], overwrite: bool) -> None:
        about = self.folder / "identity.json"
        if about.exists() and (earlier := json.loads(about.read_text())) != identity:
            differing = [key for key in {**earlier, **identity} if earlier.get(key) != identity.get(key)]
            if not overwrite:
                self.close()
                what = f"an unfinished evaluation with other {' and '.join(differing)} lies there"
                raise VocolabError(what, self.folder, "go on with its settings, or pass --overwrite")
            self._file.unlink(missing_ok=True)
        with atomic(about) as temporary:
            temporary.write_text(json.dumps(identity))
        self._read()

    def _read(self) -> None:
        """The rows of an evaluation that was killed. It may have died in the middle of a line, which is dropped."""
        data = self._file.read_bytes() if self._file.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self._file, len(whole))
        rows = [Row(**json.loads(line)) for line in whole.splitlines()]
        self.rows = {row.key: row for row in rows if not row.failed}  # what failed may have been mended

    def add(self, row: Row) -> None:
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(error, self._file) or error from error
        self.rows[row.key] = row

    def finish(self) -> None:
        """Give the folder its final name, in place of results that lie there."""
        for name in ("rows.jsonl", "identity.json"):
            (self.folder / name).unlink()
        self.close()
        try:
            discard(self._final)
            self.folder.rename(self._final)
        except OSError as error:
            raise cannot_write(error, self._final) or error from error

    def drop(self) -> None:
        """Forget all: nothing came of it."""
        for name in ("rows.jsonl", "identity.json"):
            (self.folder / name).unlink(missing_ok=True)
        self.close()
        discard(self.folder)

    def close(self) -> None:
        """Let others work on the rows."""
        self._lock.release()
        (self.folder / ".lock").unlink(missing_ok=True)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raise `VocolabError` where `folder` exists and may not be replaced: `overwrite` is false, or it holds something
    else than results, which nobody wants removed.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise VocolabError("not a folder", folder, "choose another -o")
    if not any(folder.iterdir()):
        return
    if not (folder / "results.json").is_file():
        raise VocolabError("a folder that holds no results", folder, "choose another -o")
    if not overwrite:
        raise VocolabError("results exist", folder, "choose another -o or pass --overwrite")


def discard(folder: Path) -> None:
    """Remove results that `check_folder` let pass, or an empty folder: their files, nothing else that lies there."""
    if not folder.exists():
        return
    for name in ("results.json", "results.csv", "index.html"):
        (folder / name).unlink(missing_ok=True)
    for file in (folder / "speech").glob("*.flac"):
        file.unlink()
    for place in (folder / "speech", folder):
        if place.exists():
            place.rmdir()
