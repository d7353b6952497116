"""How close speech is to its original."""

from vocolab.metrics.intelligibility import stoi
from vocolab.metrics.spectral import mel_distance

__all__ = ["mel_distance", "stoi"]
