"""Characters as they are typed: compatibility forms, apostrophes, dashes, invisible marks."""

from __future__ import annotations

import re
import unicodedata

# Compatibility forms that would lose their meaning as plain letters and digits: x² is not x2, 1º is not 1o. NFKC would
# also turn … into three full stops, which end no sentence, and spacing accents into a space and a mark.
# The punctuation of Chinese and Japanese is their own.
_KEPT = re.compile("[²³ªº№…´¨¯¸˘˙˚˛˜˝，．！？：；（）［］｛｝＂＇～]")
_FRACTION = re.compile(r"(\d?)([¼-¾⅐-⅞↉])")
_GROUP_SPACE = re.compile(r"(?<=\d)[\u00a0\u2009\u202f'’](?=\d{3}(?!\d))")  # 10 000, 10'000
_INVISIBLE = {"Cf", "Cc"}  # zero-width marks, directions of writing, controls


def plain(text: str) -> str:
    """The text in composed characters (NFC), compatibility forms as their plain characters (`ﬁ`, `Ａ`, `①`, `℃`),
    digits of all scripts as 0 to 9, without marks that are neither seen nor heard, and spaces around dashes.
    """
    text = _GROUP_SPACE.sub("", text)
    text = re.sub(r"(?<=\d)[．：](?=\d)", lambda m: unicodedata.normalize("NFKC", m[0]), text)
    text = _FRACTION.sub(lambda m: f"{m[1]} {unicodedata.normalize('NFKC', m[2])}", text)
    text = "".join(c if _KEPT.match(c) else unicodedata.normalize("NFKC", c) for c in text)
    text = "".join(_visible(c) for c in unicodedata.normalize("NFC", text))
    text = _apostrophes(text.replace("⁄", "/"))
    text = re.sub(r"\.{3,}", "…", text)
    text = re.sub(r"\s*(?:—|―|(?<!-)--(?!-))\s*|(?<=[^\W\d])\s*–\s*(?=[^\W\d])|\s+[–-]\s+(?=[^\W\d])", " — ", text)
    return tidy(text)


def tidy(text: str) -> str:
    """White space as single spaces, none at the ends and before a mark that ends a clause."""
    return re.sub(r" (?=[,.;!?](?:\s|$)|[，。、！？：；])", "", " ".join(text.split()))


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category in ("Zs", "Zl", "Zp") or char in "\t\n\r\f\v":
        return " "
    return "" if category in _INVISIBLE else char


def _apostrophes(text: str) -> str:
    """`’` as `'` where it belongs to a word; as the end of a quotation it stays."""
    text = re.sub(r"(?<=\w)[’ʼ‘](?=\w)", "'", text)
    if "‘" not in text:  # no quotation that it could end: 'tis, the dogs' tails
        text = re.sub(r"’(?=\w)|(?<=\w)’", "'", text)
    return text
