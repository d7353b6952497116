"""Language models of codes."""

from vocolab.lm.base import Condition, LanguageModel, Losses, Response
from vocolab.lm.sampling import Sampling

__all__ = ["Condition", "LanguageModel", "Losses", "Response", "Sampling"]
