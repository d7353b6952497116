"""Text: strings -> symbols -> ids."""

from vocolab.text.base import Text
from vocolab.text.characters import Characters
from vocolab.text.normalized import NormalizedText
from vocolab.text.phonemes import Phonemes
from vocolab.text.symbols import SymbolMap

__all__ = ["Characters", "NormalizedText", "Phonemes", "SymbolMap", "Text"]
