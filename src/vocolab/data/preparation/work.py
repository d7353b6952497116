"""The folder of an unfinished preparation: `SHARDS/.work/STAGE/ITEM`, each item either finished or absent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vocolab.errors import VocolabError


@dataclass(frozen=True)
class Work:
    """Names of the files that the workers of one preparation leave for each other."""

    shards: Path
    rank: int = 0

    @property
    def root(self) -> Path:
        return self.shards / ".work"

    def item(self, stage: str, name: int | str) -> Path:
        return self.root / stage / (f"{name:06d}" if isinstance(name, int) else name.replace("/", "-"))

    def finished(self, stage: str, name: int | str) -> bool:
        return self.item(stage, name).is_dir()

    def unfinished(self, stage: str, names: Iterable[int | str]) -> list[int | str]:
        """Those of `names` that are not finished, from one listing of the folder."""
        with contextlib.suppress(FileNotFoundError):
            there = set(os.listdir(self.root / stage))
            return [name for name in names if self.item(stage, name).name not in there]
        return list(names)

    @contextlib.contextmanager
    def finish(self, stage: str, name: int | str) -> Iterator[Path]:
        """Yield an empty folder that becomes the item when the block ends, at once and whole."""
        item, temporary = self.item(stage, name), self.temporary()
        try:
            temporary.mkdir(parents=True)
            item.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.rename(temporary, item)
        except OSError as error:
            if not item.is_dir():
                remedy = "free space and run again"
                raise VocolabError(f"cannot write ({error.strerror or error})", item, remedy) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def temporary(self) -> Path:
        """A new name for something unfinished, on the same disk."""
        return self.root / "tmp" / f"rank{self.rank}" / uuid.uuid4().hex

    def read(self, stage: str, name: int | str) -> Any:
        """The `item.json` of a finished item."""
        return json.loads((self.item(stage, name) / "item.json").read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Lock the folder against other preparations with this rank on this machine. Call `waiting` before waiting for
        one.

        The lock goes with the process, however it ends.
        """
        try:
            self.shards.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "choose another --data.shards"
            raise VocolabError(f"cannot write ({error.strerror})", self.shards, remedy) from error
        lock = FileLock(self.shards / f".rank{self.rank}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        except (OSError, NotImplementedError):  # a file system without locks: go on unlocked
            pass
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a preparation that waits for the lock finds the manifest
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def clean(self, world: int) -> None:
        """Remove what a killed run of this rank left unfinished; rank 0 also what ranks beyond `world` left."""
        folder = self.root / "tmp"
        gone = [f for f in folder.glob("rank*") if int(f.name[4:]) >= world] if self.rank == 0 else []
        for stale in [folder / f"rank{self.rank}", *gone]:
            shutil.rmtree(stale, ignore_errors=True)
        if self.rank == 0:
            for pattern in (".*.tmp*", "index/.*.tmp*"):
                for file in self.shards.glob(pattern):
                    file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder. It is renamed first: a half removed one must not look like work to go on with."""
        gone = self.shards / ".work-done"
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.root.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def beat(self) -> None:
        """Leave a sign of life for the ranks that wait."""
        with contextlib.suppress(OSError):  # a full disk is reported where work is saved
            beats = self.root / "beats"
            beats.mkdir(parents=True, exist_ok=True)
            (beats / str(self.rank)).write_text(str(time.time_ns()))

    def beats(self) -> tuple[str, ...]:
        with contextlib.suppress(OSError):
            return tuple(sorted(f"{f.name} {f.read_text()}" for f in (self.root / "beats").iterdir()))
        return ()


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
