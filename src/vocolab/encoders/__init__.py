"""Encoders: waveform (B, T) -> features (B, L, C)."""

from vocolab.encoders.base import Encoder
from vocolab.encoders.mel import Mel
from vocolab.encoders.whisper import Whisper

__all__ = ["Encoder", "Mel", "Whisper"]
