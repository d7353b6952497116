"""Inference. Imports no Lightning."""

from vocolab.pipelines.knnvc import KNNVC, Voice
from vocolab.pipelines.tts import TTS, Prompt, Spoken

__all__ = ["KNNVC", "TTS", "Prompt", "Spoken", "Voice"]
