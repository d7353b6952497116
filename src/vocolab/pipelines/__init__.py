"""Inference. Imports no Lightning."""

from vocolab.pipelines.knnvc import KNNVC
from vocolab.pipelines.stream import Stream
from vocolab.pipelines.tts import TTS, Prompt, Spoken
from vocolab.pipelines.voice import Voice

__all__ = ["KNNVC", "TTS", "Prompt", "Spoken", "Stream", "Voice"]
