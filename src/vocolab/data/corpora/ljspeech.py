"""LJSpeech: one American reader, 24 hours at 22.05 kHz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.listing import KEY, MISSING, audio_files, clean_key, foreign_files, split_off
from vocolab.downloads import fetch_folder
from vocolab.errors import VocolabError
from vocolab.files import read_lines

NAME = "LJSpeech-1.1"
# As torchaudio's loader states it; the publisher's page states none.
SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"


class LJSpeech(Corpus):
    """`wavs/LJ001-0001.wav` with a line `LJ001-0001|text|text with numbers written out` in `metadata.csv`, under
    `root` or `root/LJSpeech-1.1` (Ito & Johnson, 2017; keithito.com/LJ-Speech-Dataset).

    There is one speaker, `LJ`; a chapter is one of the books' parts (`LJ001`). The text is the one written out, else
    the other. `val` and `test` are fractions, or lists of keys or patterns: `LJ050-*` holds out a chapter. With
    `download` it is fetched from `url` where it is missing; otherwise nothing is.
    """

    sha256 = SHA256  # of the archive

    def __init__(
        self,
        root: str | Path,
        val: float | Sequence[str] = 0.01,
        test: float | Sequence[str] = 0.0,
        download: bool = False,
        url: str = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
    ):
        self.root, self.download, self.url = root, download, url
        self.val = val if isinstance(val, (int, float)) else list(val)
        self.test = test if isinstance(test, (int, float)) else list(test)

    def splits(self) -> dict[str, list[Utterance]]:
        if self.download and self._find() is None:
            root = Path(self.root).expanduser()
            fetch_folder(self.url, root / f"{NAME}.tar.bz2", NAME, root / NAME, sha256=self.sha256)
        folder = self._folder()
        texts = _texts(folder / "metadata.csv")
        return split_off([_utterance(folder, source, texts) for source in self.files()], self.val, self.test)

    def files(self) -> list[str]:
        wavs = self._folder() / "wavs"
        names = [name for name in audio_files(wavs) if "/" not in name]
        if not names:
            raise VocolabError("no LJ001-0001.wav", wavs, "set --data.corpus.root to an LJSpeech layout")
        return [f"wavs/{name}" for name in names]

    def foreign(self) -> list[str]:
        return foreign_files(self._folder())

    def _folder(self) -> Path:
        folder = self._find()
        if folder is None:
            raise VocolabError("no metadata.csv of LJSpeech", Path(self.root).expanduser(), MISSING)
        return folder

    def _find(self) -> Path | None:
        root = Path(self.root).expanduser()
        return next((place for place in (root, root / NAME) if (place / "metadata.csv").is_file()), None)


def _texts(metadata: Path) -> dict[str, str]:
    """The text of each file, by its name without suffix. Values stand as they are, without quoting."""
    texts = {}
    for number, line in enumerate(read_lines(metadata), start=1):
        name, *columns = line.split("|")
        if len(columns) not in (1, 2):
            remedy = "give each line NAME|TEXT|TEXT WRITTEN OUT"
            raise VocolabError(f"{1 + len(columns)} columns, expected 3", f"{metadata}:{number}", remedy)
        texts[name] = " ".join((columns[-1].strip() or columns[0]).split())
    return texts


def _utterance(folder: Path, source: str, texts: dict[str, str]) -> Utterance:
    stem = PurePosixPath(source).stem
    key = stem if KEY.fullmatch(stem) else clean_key(source)
    text = texts.get(stem) or None
    return Utterance(key, folder / source, source, "LJ", stem.partition("-")[0], text, "en")
