"""How close speech is to its original, how well it is understood, and whose voice it is."""

from vocolab.metrics.base import Heard, Metric, Unmeasured, measure
from vocolab.metrics.intelligibility import STOI, stoi
from vocolab.metrics.spectral import MelL1, MultiResolutionSTFT, mel_distance

__all__ = ["STOI", "Heard", "MelL1", "Metric", "MultiResolutionSTFT", "Unmeasured", "measure", "mel_distance", "stoi"]
