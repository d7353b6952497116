"""Training texts as people write them, put in words before they are read."""

from __future__ import annotations

from typing import Any

from vocolab.text.base import Text
from vocolab.text.normalisation import for_language, versions


class NormalizedText(Text):
    """Numbers, dates, abbreviations and so on in words (`vocolab.text.normalisation`), then the symbols of `text`."""

    uses_language = True

    def __init__(self, text: Text):
        self.text = text
        self.reads_numbers, self.default_language = text.reads_numbers, text.default_language

    def symbols(self, text: str, language: str = "") -> list[str]:
        normaliser = for_language(language or self.default_language, numbers=not self.reads_numbers)
        return self.text.symbols(normaliser.normalise(text).text, language)

    def fingerprint(self) -> dict[str, Any]:
        """The inner one's, and the versions of the packages that decide the words."""
        return {**self.text.fingerprint(), "normalisation": versions()}
