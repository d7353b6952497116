"""A recogniser and a speaker encoder to judge speech with: those of `vocolab evaluate` (`make bench-env`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch

from vocolab import audio
from vocolab.data.corpora import Utterance
from vocolab.metrics import Heard
from vocolab.metrics.voices import Resemblyzer
from vocolab.metrics.words import CER, Recogniser

RATE = 16000  # Hz
VOICES = [str(3001 + i) for i in range(10)]  # the Kokoro voices of the built-in speech


def by_speaker(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    found = defaultdict(list)
    for utterance in utterances:
        found[utterance.speaker].append(utterance)
    return found


class Listeners:
    """Transcripts and speaker embeddings of 16 kHz speech (float32 arrays (T,))."""

    @cached_property
    def _recogniser(self) -> Recogniser:
        found = Recogniser()
        found.load()
        return found

    @cached_property
    def _speaker(self) -> Resemblyzer:
        found = Resemblyzer()
        found.load()
        return found

    def transcribe(self, wav: np.ndarray) -> str:
        return self._recogniser.words(Heard(torch.from_numpy(wav), RATE, language="en"))

    def embed(self, wav: np.ndarray) -> np.ndarray:
        """Speaker embedding (256,), unit length."""
        return self._speaker.embed(torch.from_numpy(wav))

    def voice_print(self, utterances: Iterable[Utterance]) -> np.ndarray:
        """Mean embedding (256,) of a voice, unit length."""
        mean = np.mean([self.embed(audio.read(u.path, RATE)[0].numpy()) for u in utterances], axis=0)
        return mean / np.linalg.norm(mean)


def character_error_rate(pairs: list[tuple[str, str]]) -> float:
    """Edits over reference characters of (reference, transcript) pairs, as `cer` of `vocolab evaluate` counts them."""
    cer = CER(Recogniser())
    cer.load()
    return cer.pool(np.array([cer.edits(reference, transcript) for reference, transcript in pairs]))
