"""Characters as symbols: for languages without a phonemiser, and for machines without espeak."""

from __future__ import annotations

import unicodedata

from vocolab.errors import VocolabError
from vocolab.text.base import Text


class Characters(Text):
    """The characters of the text in lower case and composed form (NFC), marks and digits kept, a run of white space as
    one space. Every language is known.
    """

    uses_language = False

    def symbols(self, text: str, language: str = "") -> list[str]:
        # Lower case first: it may decompose (İ); NFC puts together what can be.
        symbols = list(" ".join(unicodedata.normalize("NFC", text.lower()).split()))
        if not symbols:
            raise VocolabError("no text", repr(text[:40]), "give at least one character that is not a space")
        return symbols
