"""How much one use of the page may take, and what is said to more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vocolab import audio
from vocolab.errors import VocolabError


@dataclass(frozen=True)
class Limits:
    """The page serves several people with one model: nobody may keep it for long, or fill the disk."""

    seconds: float = 120.0  # of a recording to convert
    voice_seconds: float = 600.0  # of all recordings of a voice together
    files: int = 20  # of a voice
    megabytes: float = 50.0  # of a file
    characters: int = 500  # of a text
    waiting: int = 16  # requests
    keep: int = 3600  # seconds that uploads and results stay on the disk

    def source(self, path: str | Path | None) -> Path:
        """The recording to convert. Raises `VocolabError` where there is none, it is no sound, or too long."""
        if path is None:
            raise VocolabError("no speech to convert", "", "upload a recording, or make one with the microphone")
        found = Path(path)
        self._check(self._length(found), self.seconds, found.name, "give a shorter recording")
        return found

    def voice(self, files: Sequence[str | Path] | None, recorded: str | Path | None) -> list[Path]:
        """The recordings of a voice: files, and what was said into the microphone. Raises `VocolabError` where there is
        none, one is no sound, or they are too many or too long together.
        """
        found = [Path(path) for path in [*(files or []), *([recorded] if recorded else [])]]
        if not found:
            raise VocolabError("no voice", "", "upload recordings of the voice, or make one with the microphone")
        if len(found) > self.files:
            raise VocolabError(f"{len(found)} recordings of the voice", "", f"give at most {self.files}")
        seconds = sum(self._length(path) for path in found)
        self._check(seconds, self.voice_seconds, "the recordings of the voice", "give fewer or shorter ones")
        return found

    def text(self, text: str | None) -> str:
        """The text to say. Raises `VocolabError` where there is none, or it is too long."""
        found = (text or "").strip()
        if not found:
            raise VocolabError("no text", "", "write something to say")
        if len(found) > self.characters:
            what = f"{len(found):,} characters, at most {self.characters:,} are spoken here"
            raise VocolabError(what, "", "give less text, or use vocolab synthesize")
        return found

    def duration(self, seconds: float | None) -> float | None:
        """Seconds that a result is to last; None, and 0, for as long as it comes out."""
        if not seconds:
            return None
        self._check(seconds, self.seconds, "the length asked for", "give less")
        return seconds

    def _length(self, path: Path) -> float:
        """Seconds of a recording."""
        if not path.exists():
            remedy = f"upload it again: recordings are deleted after {self.keep / 60:g} minutes"
            raise VocolabError("it is no longer here", path.name, remedy)
        return audio.info(path).seconds

    def _check(self, seconds: float, limit: float, where: str, remedy: str) -> None:
        if not seconds <= limit:
            raise VocolabError(f"{seconds:.1f} s, at most {limit:g} s are taken here", where, remedy)
