"""Backbones: sequences of vectors (B, L, D) -> (B, L, D)."""

from vocolab.lm.backbones.base import Backbone, Output, State
from vocolab.lm.backbones.retnet import RetNet
from vocolab.lm.backbones.transformer import Transformer

__all__ = ["Backbone", "Output", "RetNet", "State", "Transformer"]
