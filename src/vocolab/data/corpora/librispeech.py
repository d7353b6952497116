"""LibriSpeech and whatever is laid out like it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.listing import MISSING, Transcripts, audio_files, clean_key, foreign_files, in_order
from vocolab.downloads import fetch_folder
from vocolab.errors import UsageError, VocolabError

MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}


class LibriSpeech(Corpus):
    """`SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac` (or wav, opus, ...) with `SPEAKER-CHAPTER.trans.txt`,
    under `root` or `root/LibriSpeech` (Panayotov et al., 2015; openslr.org/12).

    With `download`, subsets that are missing are fetched from `url`; otherwise nothing is.
    """

    name = "LibriSpeech"
    md5 = MD5  # of the archive of each subset

    def __init__(
        self,
        root: str | Path,
        train: Sequence[str] = ("train-clean-100",),
        val: Sequence[str] = ("dev-clean",),
        test: Sequence[str] = (),
        download: bool = False,
        url: str = "https://www.openslr.org/resources/12",
    ):
        self.root, self.download, self.url = root, download, url
        self.train, self.val, self.test = list(train), list(val), list(test)

    def splits(self) -> dict[str, list[Utterance]]:
        named = self._named()
        if len(set(named)) < len(named):
            raise UsageError("a subset is named twice", ", ".join(named), "name each in one split only")
        for name in named if self.download else ():
            if self._find(name) is None:
                self._download(name)
        subsets = {"train": self.train, "val": self.val, "test": self.test}
        found = {split: [u for name in names for u in self._subset(name)] for split, names in subsets.items()}
        return {split: in_order(utterances) for split, utterances in found.items() if utterances}

    def files(self) -> list[str]:
        return sorted(f"{name}/{source}" for name in self._named() for source in self._sources(name))

    def foreign(self) -> list[str]:
        folders = ((name, self._folder(name)) for name in self._named())
        return [f"{name}/{path}" for name, folder in folders for path in foreign_files(folder)]

    def _named(self) -> list[str]:
        """The subsets of all splits."""
        return [*self.train, *self.val, *self.test]

    def _subset(self, name: str) -> list[Utterance]:
        folder, transcripts = self._folder(name), self._transcripts()
        return [_utterance(folder / source, f"{name}/{source}", transcripts) for source in self._sources(name)]

    def _sources(self, name: str) -> list[str]:
        """The audio files of a subset, relative to its folder."""
        folder = self._folder(name)
        sources = [s for s in audio_files(folder) if s.count("/") == 2]
        if not sources:
            raise VocolabError("no SPEAKER/CHAPTER/*.flac", folder, f"set --data.corpus.root to a {self.name} layout")
        return sources

    def _folder(self, name: str) -> Path:
        folder = self._find(name)
        if folder is None:
            raise VocolabError(f"no {name} in the corpus", self._root(), MISSING)
        return folder

    def _find(self, name: str) -> Path | None:
        root = self._root()
        return next((f for f in (root / name, root / self.name / name) if f.is_dir()), None)

    def _root(self) -> Path:
        return Path(self.root).expanduser()

    def _download(self, name: str) -> None:
        if name not in self.md5:
            raise UsageError(f"no such {self.name} subset {name!r}", "", "choose from " + " ".join(self.md5))
        archive, inside = self._root() / self._archive(name), f"{self.name}/{name}"
        url = f"{self.url.rstrip('/')}/{archive.name}"
        fetch_folder(url, archive, inside, self._root() / inside, md5=self.md5[name])

    def _archive(self, name: str) -> str:
        """The file on the server that holds a subset."""
        return f"{name}.tar.gz"

    def _transcripts(self) -> Transcripts:
        """Where the texts of a subset's files are found."""
        return Transcripts()


def _utterance(path: Path, source: str, transcripts: Transcripts) -> Utterance:
    _, speaker, chapter, name = PurePosixPath(source).parts
    stem = PurePosixPath(name).stem
    proper = re.match(rf"{re.escape(speaker)}[-_]{re.escape(chapter)}[-_]", stem) and re.fullmatch(
        r"[A-Za-z0-9_-]{1,80}", stem
    )
    key = stem if proper else clean_key(f"{speaker}/{chapter}/{name}")
    return Utterance(key, path, source, speaker, chapter, transcripts.of(path), "en")
