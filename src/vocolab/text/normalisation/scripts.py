"""Which script a character belongs to, and what of a text no rule could read."""

from __future__ import annotations

import unicodedata
from collections import Counter

# The scripts in which languages are written, where it is not Latin alone.
_CYRILLIC, _ARABIC, _INDIC = "be bg kk ky mk mn ru sr tg uk", "ar fa ur ps sd ug", "hi mr ne sa"
SCRIPTS = {
    **dict.fromkeys(_CYRILLIC.split(), {"Cyrillic"}),
    **dict.fromkeys(_ARABIC.split(), {"Arabic"}),
    **dict.fromkeys(_INDIC.split(), {"Devanagari"}),
    "sr": {"Cyrillic", "Latin"},
    "el": {"Greek"},
    "he": {"Hebrew"},
    "ja": {"Han", "Hiragana", "Katakana"},
    "ko": {"Hangul", "Han"},
    "zh": {"Han", "Bopomofo"},
    "yue": {"Han", "Bopomofo"},
    "th": {"Thai"},
    "ka": {"Georgian"},
    "hy": {"Armenian"},
    "am": {"Ethiopic"},
    "bn": {"Bengali"},
    "ta": {"Tamil"},
    "te": {"Telugu"},
    "kn": {"Kannada"},
    "my": {"Myanmar"},
    "km": {"Khmer"},
    "lo": {"Lao"},
}
_NAMES = {"Cjk": "Han", "Ideographic": "Han", "Katakana-hiragana": "Katakana", "Modifier": "", "Combining": ""}


def script(char: str) -> str:
    """The script of a letter, by the first word of its Unicode name; empty for what is no letter or of no script."""
    if unicodedata.category(char)[0] not in "LM":
        return ""
    first = unicodedata.name(char, "").split(" ")[0].capitalize()
    return _NAMES.get(first, first)


def foreign_script(char: str, language: str) -> str:
    """The script of a letter in which the language is not written; empty for any other character."""
    found = script(char)
    return "" if found in SCRIPTS.get(language, {"Latin"}) else found


def left_over(text: str, language: str) -> Counter[str]:
    """The characters that are neither letters of the language's script nor punctuation: digits, symbols, others."""
    found = Counter(text)
    return Counter({c: n for c, n in found.items() if not _readable(c, language)})


def _readable(char: str, language: str) -> bool:
    category = unicodedata.category(char)
    if char == "〇":  # a digit among Han characters
        return language in ("zh", "ja", "yue")
    if category[0] == "L":
        return not foreign_script(char, language)
    return category[0] in "MPZ" and char not in "@#%&*/\\_†‡§¶" or char.isspace()
