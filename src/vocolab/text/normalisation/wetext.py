"""Chinese and Japanese by WeText, the finite-state rules of WeTextProcessing."""

from __future__ import annotations

import functools
import re
from typing import Any

from vocolab.extras import required
from vocolab.text.normalisation import emoji
from vocolab.text.normalisation.base import Normaliser
from vocolab.text.normalisation.characters import plain, tidy

LANGUAGES = {"zh": "Chinese", "ja": "Japanese"}
_GROUPS = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)")  # WeText reads 1,234,567 as three numbers
_COMMA = re.compile(r"(?<=\d)，(?=\d)")
_HYPHEN = re.compile(r"(?<=[A-Za-z])-(?=\d)")  # and GPT-4 with a minus
_DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))


class WeText(Normaliser):
    """Numbers, dates, money, units and telephone numbers of Chinese and Japanese."""

    def __init__(self, language: str):
        with required("wetext", "normalisation"):
            import wetext  # noqa: F401
        self.language, self.name = language, f"rules for {LANGUAGES[language]} (WeText)"

    def paragraph(self, text: str) -> str:
        text = plain(emoji.spoken(text, self.language))
        text = _HYPHEN.sub(" ", _GROUPS.sub(lambda m: m[0].replace(",", ""), text))
        # WeText takes the Chinese comma between two numbers for one within a number.
        said = "，".join(_rules(self.language).normalize(part) for part in _COMMA.split(text))
        # What its rules leave, digit by digit.
        return tidy(re.sub(r"\d", lambda m: _DIGITS[m[0]], said))


@functools.cache
def _rules(language: str) -> Any:
    from wetext import Normalizer

    return Normalizer(lang=language, operator="tn")
