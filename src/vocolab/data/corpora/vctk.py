"""VCTK: 110 English speakers of many accents, read at 48 kHz."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.listing import MISSING, audio_files, clean_key, foreign_files, split_off, whole_text
from vocolab.downloads import fetch_folder
from vocolab.errors import UsageError, VocolabError

NAME = "VCTK-Corpus-0.92"
# As torchaudio's loader states it; the publisher's page states none.
SHA256 = "f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c"
TRIMMED, OLDER = "wav48_silence_trimmed", "wav48"  # the folders of speech of version 0.92 and of those before


class VCTK(Corpus):
    """VCTK under `root`, `root/VCTK-Corpus-0.92` or `root/VCTK-Corpus` (Yamagishi et al., 2019;
    datashare.ed.ac.uk/handle/10283/3443).

    - Version 0.92: `wav48_silence_trimmed/SPEAKER/SPEAKER_NNN_MIC.flac`. `mic` chooses one of its two microphones; a
      speaker who has no file of it (p280 has none of mic2) is left out.
    - Earlier versions: `wav48/SPEAKER/SPEAKER_NNN.wav`, one microphone, whatever `mic` says.

    Texts are read from `txt/SPEAKER/SPEAKER_NNN.txt`; those of p315 were lost, so its utterances have none. `val` and
    `test` are fractions, or lists of keys or patterns: `p225_*` holds out a speaker. All speakers read the first 24
    sentences. With `download`, version 0.92 is fetched from `url` where no version is there; otherwise nothing is.
    """

    sha256 = SHA256  # of the archive

    def __init__(
        self,
        root: str | Path,
        mic: Literal["mic1", "mic2"] = "mic1",
        val: float | Sequence[str] = 0.05,
        test: float | Sequence[str] = 0.0,
        download: bool = False,
        url: str = "https://datashare.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",
    ):
        if mic not in ("mic1", "mic2"):
            raise UsageError(f"mic is {mic!r}", "data.corpus.mic", "set it to mic1 or mic2")
        self.root, self.mic, self.download, self.url = root, mic, download, url
        self.val = val if isinstance(val, (int, float)) else list(val)
        self.test = test if isinstance(test, (int, float)) else list(test)

    def splits(self) -> dict[str, list[Utterance]]:
        if self.download and self._find() is None:
            root = Path(self.root).expanduser()
            fetch_folder(self.url, root / f"{NAME}.zip", ".", root / NAME, sha256=self.sha256)
        folder = self._folder()
        return split_off([_utterance(folder, source) for source in self.files()], self.val, self.test)

    def files(self) -> list[str]:
        folder = self._folder()
        trimmed = (folder / TRIMMED).is_dir()
        speech = folder / (TRIMMED if trimmed else OLDER)
        names = (name for name in audio_files(speech) if name.count("/") == 1)
        chosen = [name for name in names if not trimmed or PurePosixPath(name).stem.endswith(f"_{self.mic}")]
        if not chosen:
            wanted = f"SPEAKER/SPEAKER_NNN_{self.mic}.flac" if trimmed else "SPEAKER/SPEAKER_NNN.wav"
            raise VocolabError(f"no {wanted}", speech, "set --data.corpus.root to a VCTK layout")
        return [f"{speech.name}/{name}" for name in chosen]

    def foreign(self) -> list[str]:
        return foreign_files(self._folder())

    def _folder(self) -> Path:
        folder = self._find()
        if folder is None:
            raise VocolabError(f"no {TRIMMED} or {OLDER} of VCTK", Path(self.root).expanduser(), MISSING)
        return folder

    def _find(self) -> Path | None:
        """The folder of the newest version that is there."""
        root = Path(self.root).expanduser()
        places = [root, root / NAME, root / "VCTK-Corpus"]
        found = ((place, speech) for speech in (TRIMMED, OLDER) for place in places)
        return next((place for place, speech in found if (place / speech).is_dir()), None)


def _utterance(folder: Path, source: str) -> Utterance:
    _, speaker, name = PurePosixPath(source).parts
    stem = re.sub(r"_mic[12]$", "", PurePosixPath(name).stem)
    text = folder / "txt" / speaker / f"{stem}.txt"
    spoken = whole_text(text) if text.is_file() else None
    return Utterance(clean_key(f"{stem}.wav"), folder / source, source, speaker, text=spoken or None, language="en")
