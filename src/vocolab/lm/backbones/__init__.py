"""Backbones: sequences of vectors (B, L, D) -> (B, L, D)."""

from vocolab.lm.backbones.base import Backbone, Output, State, Window
from vocolab.lm.backbones.bitnet import BitLinear, BitNet
from vocolab.lm.backbones.llama import Llama
from vocolab.lm.backbones.mixtral import Mixtral
from vocolab.lm.backbones.retnet import RetNet
from vocolab.lm.backbones.transformer import Transformer

__all__ = ["Backbone", "BitLinear", "BitNet", "Llama", "Mixtral", "Output", "RetNet", "State", "Transformer", "Window"]
