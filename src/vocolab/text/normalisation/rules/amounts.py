"""Money, units and fractions."""

from __future__ import annotations

import re

from vocolab.text.normalisation.rules.numbers import count, pattern, put
from vocolab.text.normalisation.units import CURRENCIES, UNITS
from vocolab.text.normalisation.words import Words

_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_WORDS = "thousand|million|billion|trillion"


def money(text: str, words: Words) -> str:
    """$3.50, 3,50 €, 5 USD, $2 million, $1.5bn, $2M."""
    symbols = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
    number = pattern(words.spelling)
    scale = rf"(?:\s({_WORDS})\b|((?i:{'|'.join(_SCALES)}))\b)?" if words.language == "en" else "()()"

    def say(m: re.Match[str], sign: str, written: str, symbol: str, long: str | None, short: str | None) -> str:
        scale = long or _SCALES.get((short or "").lower(), "")
        said = words.money(count(written, words.spelling), CURRENCIES[symbol], scale)
        minus = words.spelling.signs.get("minus", "") if sign else ""
        return put(m, f"{minus} {said}".strip())

    before = rf"(?<![\w.,])([-−]?)({symbols})\s?({number}){scale}(?![\d])"
    text = re.sub(before, lambda m: say(m, m[1], m[3], m[2], m[4], m[5]), text)
    behind = rf"(?<![\w.,])((?:(?<=^)|(?<=\s))[-−])?({number})\s?({symbols})(?!\w)"
    return re.sub(behind, lambda m: say(m, m[1], m[2], m[3], None, None), text)


def measures(text: str, words: Words) -> str:
    """5 km, -5°C, 98%."""
    units = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
    number = pattern(words.spelling)
    signed = rf"(?<![\w.,:/])(?:((?:(?<=^)|(?<=[\s(]))[-−–])?({number})\s?({units}))(?![\w²³/]|°)"
    first = rf"(?<![\w.,:/-])({number})(?=\s?[-–]\s?{number}\s?(?:{units})(?!\w))\s?[-–]\s?"

    def say(m: re.Match[str]) -> str:
        written = count(m[2], words.spelling)
        return put(m, words.measure(("-" if m[1] else "") + written, UNITS[m[3]]) or m[0])

    if to := words.spelling.signs.get("to"):
        text = re.sub(first, lambda m: f"{words.number(count(m[1], words.spelling))} {to} ", text)
    text = re.sub(rf"(?<![\w%])%\s?({number})(?![\w%])", r"\1%", text)  # %98, as Turkish writes it
    return re.sub(signed, say, text)


def fractions(text: str, words: Words) -> str:
    """1/2, 2 3/4; no more than hundredths, and not the parts of a date or of an address."""

    def say(m: re.Match[str]) -> str:
        whole, numerator, denominator = m[1], int(m[2]), int(m[3])
        part = words.fraction(numerator, denominator) if numerator < denominator <= 10 else ""
        if not part:
            return m[0]
        if whole is None:
            return part
        link = words.spelling.signs.get("&", "")
        if part.startswith("one ") and words.language == "en":
            part = ("an " if part[4:].startswith("eighth") else "a ") + part[4:]
        return " ".join(filter(None, [words.cardinal(int(whole)), link, part]))

    return re.sub(r"(?<![\w.,:/-])(?:(\d{1,3})\s+)?(\d\d?)/(\d\d?)(?![\w/]|[.,]\d)", say, text)
