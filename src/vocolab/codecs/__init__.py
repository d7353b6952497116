"""Codecs: waveform (B, T) <-> codes (B, K, L)."""

from vocolab.codecs.base import Codec

__all__ = ["Codec"]
