"""Encoders: waveform (B, T) -> features (B, L, C)."""

from vocolab.encoders.base import Encoder
from vocolab.encoders.huggingface import HuggingFace
from vocolab.encoders.mel import Mel
from vocolab.encoders.stack import LayerStack
from vocolab.encoders.wavlm import WavLM
from vocolab.encoders.whisper import Whisper

__all__ = ["Encoder", "HuggingFace", "LayerStack", "Mel", "WavLM", "Whisper"]
