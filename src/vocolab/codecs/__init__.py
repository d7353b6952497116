"""Codecs: waveform (B, T) <-> codes (B, K, L)."""

from vocolab.codecs.base import Codec
from vocolab.codecs.encodec import EnCodec
from vocolab.codecs.kmeans import KMeansCodec

__all__ = ["Codec", "EnCodec", "KMeansCodec"]
