"""The interface of what turns text as people write it into words."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field

from vocolab.text.normalisation.scripts import left_over

_TIMES = 5
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


@dataclass
class Normalised:
    """A text in words."""

    text: str
    left_over: Counter[str] = field(default_factory=Counter)  # the characters that no rule could turn into words


class Normaliser(ABC):
    """Turns numbers, dates, abbreviations and the like into words, and leaves punctuation, words and their case alone.

    The same text always gives the same words, and a text of words alone comes back as it is.
    """

    language: str  # its first part, such as en
    name: str  # what it is and which packages it uses, for a line to the user

    def normalise(self, text: str) -> Normalised:
        """The text in words, in the paragraphs it came in. Letters are never dropped: what cannot be read stays, and is
        counted in `left_over`.
        """
        text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
        blank = _BLANK_LINES.search(text)
        said = "\n\n" if blank else "\n"
        parts = [self._settled(part) for part in (_BLANK_LINES.split(text) if blank else text.split("\n"))]
        whole = said.join(parts)
        return Normalised(whole, left_over(whole, self.language))

    def _settled(self, text: str) -> str:
        """A paragraph in words that are words to the rules too: those of one may show another what it can read, as in
        0Dr. A few times do for what people write.
        """
        for _ in range(_TIMES):
            said = self.paragraph(text)
            if said == text:
                break
            text = said
        return text

    @abstractmethod
    def paragraph(self, text: str) -> str:
        """A paragraph in words."""
