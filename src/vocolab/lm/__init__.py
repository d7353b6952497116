"""Language models of codes."""

from vocolab.lm import sampling
from vocolab.lm.ar import AR
from vocolab.lm.base import Condition, LanguageModel, Losses, Response
from vocolab.lm.medusa import MedusaHeads
from vocolab.lm.nar import NAR
from vocolab.lm.sampling import Sampling
from vocolab.lm.split import Split, first_codebook
from vocolab.lm.unified import Unified

__all__ = [
    "AR",
    "NAR",
    "Condition",
    "LanguageModel",
    "Losses",
    "MedusaHeads",
    "Response",
    "Sampling",
    "Split",
    "Unified",
    "first_codebook",
    "sampling",
]
