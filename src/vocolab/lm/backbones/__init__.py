"""Backbones: sequences of vectors (B, L, D) -> (B, L, D)."""

from vocolab.lm.backbones.base import Backbone, Output, State

__all__ = ["Backbone", "Output", "State"]
