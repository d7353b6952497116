"""Any folder of speech."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vocolab.audio.io import EXTENSIONS
from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.listing import Transcripts, audio_files, clean_key, foreign_files, how_to_convert, split_off
from vocolab.errors import UsageError, VocolabError


class Folder(Corpus):
    """Every audio file under `root`.

    The speaker is the folder a file lies in, or the group of `speaker`, a regular expression searched in the path
    relative to `root` (forward slashes). `val` and `test` are fractions, or lists of keys, paths or patterns.
    A transcript is read from `STEM.txt`, or from a line `STEM text` of a `*.trans.txt` beside the file.
    """

    def __init__(
        self,
        root: str | Path,
        speaker: str | None = None,
        val: float | Sequence[str] = 0.05,
        test: float | Sequence[str] = 0.0,
        extensions: Sequence[str] = tuple(sorted(EXTENSIONS)),
    ):
        self.root, self.speaker, self.extensions = root, speaker, list(extensions)
        self.val = val if isinstance(val, (int, float)) else list(val)
        self.test = test if isinstance(test, (int, float)) else list(test)

    def splits(self) -> dict[str, list[Utterance]]:
        root, sources, transcripts = self._root(), self.files(), Transcripts()
        utterances = [
            Utterance(
                clean_key(source), root / source, source, self._speaker(source), text=transcripts.of(root / source)
            )
            for source in sources
        ]
        return split_off(utterances, self.val, self.test)

    def files(self) -> list[str]:
        root = self._root()
        if not root.is_dir():
            raise VocolabError("no such folder", root, "set --data.corpus.root to a folder of speech")
        sources = audio_files(root, self.extensions)
        if not sources:
            remedy = "set --data.corpus.root to a folder that holds some"
            if foreign := self.foreign():
                remedy = f"there are {how_to_convert(foreign)}"
            raise VocolabError(f"no audio files ({' '.join(self.extensions)})", root, remedy)
        return sources

    def foreign(self) -> list[str]:
        return foreign_files(self._root(), self.extensions)

    def _root(self) -> Path:
        return Path(self.root).expanduser()

    def _speaker(self, source: str) -> str:
        if self.speaker is None:
            return source.rpartition("/")[0] or self._root().resolve().name
        try:
            pattern = re.compile(self.speaker)
        except re.error as error:
            raise UsageError(
                f"speaker is no regular expression ({error})", self.speaker, "correct --data.corpus.speaker"
            ) from error
        if pattern.groups != 1:
            raise UsageError(
                f"speaker has {pattern.groups} groups, expected 1", self.speaker, "put (...) around the speaker's name"
            )
        match = pattern.search(source)
        if not match or not match[1]:
            raise VocolabError(f"speaker {self.speaker!r} does not match", source, "correct --data.corpus.speaker")
        return match[1]
