"""The base class of what turns text into symbols."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Text(ABC):
    """Turns text into symbols, such as phonemes or characters. A symbol is a string; a `SymbolMap` gives it an id."""

    uses_language: bool = True  # whether the same text may give other symbols in another language
    reads_numbers: bool = False  # whether it turns digits into what is said of them, in every language
    default_language: str = ""  # of texts that come without one; empty: unknown

    @abstractmethod
    def symbols(self, text: str, language: str = "") -> list[str]:
        """The symbols of a text, words parted by one `" "`, without begin and end marks. `language` as in the corpus
        (`en`, `en-us`; empty: the default).

        Raises `VocolabError` for a language it does not know, naming near ones, and for a text without any symbol.
        """

    def fingerprint(self) -> dict[str, Any]:
        """What decides the symbols beyond the constructor arguments, such as the version of a phonemiser."""
        return {}
