"""Emoji by their names."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

NAMED = frozenset("ar de en es fa fr id it ja ko pt ru tr zh".split())  # the languages of the package emoji
_PICTURE = "[\U0001f300-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\u203c\u2049\u3030\u303d\u3297\u3299]"
_ALONE = re.compile(rf"(?:{_PICTURE}|[\U0001f1e6-\U0001f1ff])[\ufe0e\ufe0f\u200d\U0001f3fb-\U0001f3ff]*")


@functools.cache
def package() -> Any:
    """The package emoji, or None where it is not installed."""
    try:
        import emoji
    except ImportError:
        return None
    return emoji


def spoken(text: str, language: str) -> str:
    """A text with its emoji by name, a comma between those beside each other; as it is where there are no names."""
    if text.isascii():
        return text
    library = package()
    if library is not None and language in NAMED:
        names = library.demojize(text, delimiters=("\ue000", "\ue001"), language=language)
        text = re.sub("\ue000([^\ue000\ue001]*)\ue001", lambda m: f"\ue000{_words(m[1])}\ue001", names)
    elif language == "en":
        text = _ALONE.sub(lambda m: f"\ue000{unicodedata.name(m[0][0], '').lower()}\ue001" or m[0], text)
    text = re.sub("\ue001\\s*\ue000", ", ", text)
    return re.sub("\\s*\ue000([^\ue000\ue001]*)\ue001\\s*", r" \1 ", text)


def _words(name: str) -> str:
    return re.sub(r"[_\s]+", " ", name).strip()
