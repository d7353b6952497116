"""Codecs: waveform (B, T) <-> codes (B, K, L)."""

from vocolab.codecs.base import Codec
from vocolab.codecs.kmeans import KMeansCodec

__all__ = ["Codec", "KMeansCodec"]
