"""LibriTTS and LibriTTS-R: LibriSpeech's readers at 24 kHz, cut at sentences, with punctuation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocolab.data.corpora.librispeech import LibriSpeech
from vocolab.data.corpora.listing import Transcripts, whole_text

MD5 = {
    "dev-clean": "0c3076c1e5245bb3f0af7d82087ee207",
    "dev-other": "815555d8d75995782ac3ccd7f047213d",
    "test-clean": "7bed3bdb047c4c197f1ad3bc412db59f",
    "test-other": "ae3258249472a13b5abef2a816f733e4",
    "train-clean-100": "4a8c202b78fe1bc0c47916a98f3a2ea8",
    "train-clean-360": "a84ef10ddade5fd25df69596a2767b2d",
    "train-other-500": "7b181dd5ace343a5f38427999684aa6f",
}
MD5_R = {
    "dev-clean": "2c1f5312914890634cc2d15783032ff3",
    "dev-other": "62d3a80ad8a282b6f31b3904f0507e4f",
    "test-clean": "4d373d453eb96c0691e598061bbafab7",
    "test-other": "dbc0959d8bdb6d52200595cabc9995ae",
    "train-clean-100": "6df668d8f5f33e70876bfa33862ad02b",
    "train-clean-360": "382eb3e64394b3da6a559f864339b22c",
    "train-other-500": "a37a8e9f4fe79d20601639bf23d1add8",
}


class LibriTTS(LibriSpeech):
    """`SUBSET/SPEAKER/CHAPTER/SPEAKER_CHAPTER_PARAGRAPH_SENTENCE.wav` with the text beside each in `.normalized.txt`
    (numbers and abbreviations written out), else `.original.txt`, under `root` or `root/LibriTTS` (Zen et al., 2019;
    openslr.org/60).

    With `download`, subsets that are missing are fetched from `url`; otherwise nothing is.
    """

    name = "LibriTTS"
    md5 = MD5

    def __init__(
        self,
        root: str | Path,
        train: Sequence[str] = ("train-clean-100", "train-clean-360"),
        val: Sequence[str] = ("dev-clean",),
        test: Sequence[str] = (),
        download: bool = False,
        url: str = "https://www.openslr.org/resources/60",
    ):
        super().__init__(root, train, val, test, download, url)

    def _transcripts(self) -> Transcripts:
        return SentenceTexts()


class LibriTTSR(LibriTTS):
    """LibriTTS with its recordings restored (Koizumi et al., 2023; openslr.org/141), in the same layout, under `root`
    or `root/LibriTTS_R`.
    """

    name = "LibriTTS_R"
    md5 = MD5_R

    def __init__(
        self,
        root: str | Path,
        train: Sequence[str] = ("train-clean-100", "train-clean-360"),
        val: Sequence[str] = ("dev-clean",),
        test: Sequence[str] = (),
        download: bool = False,
        url: str = "https://www.openslr.org/resources/141",
    ):
        super().__init__(root, train, val, test, download, url)

    def _archive(self, name: str) -> str:
        return f"{name.replace('-', '_')}.tar.gz"


class SentenceTexts(Transcripts):
    """A file of text for each file of speech."""

    def of(self, path: Path) -> str | None:
        for ending in (".normalized.txt", ".original.txt"):
            own = path.with_name(path.stem + ending)
            if own.is_file():
                return whole_text(own)
        return super().of(path)
