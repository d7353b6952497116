"""Text: strings -> symbols -> ids."""

from vocolab.text.base import Text
from vocolab.text.symbols import SymbolMap

__all__ = ["SymbolMap", "Text"]
