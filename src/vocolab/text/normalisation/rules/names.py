"""Abbreviations, initials and Roman numerals."""

from __future__ import annotations

import re

from vocolab.text.normalisation.words import Words

_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_VALID = re.compile(r"(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_NAME = r"[^\W\d_a-zà-öø-ÿ][^\W\d_]+"  # a word that begins with a capital


def abbreviations(text: str, words: Words) -> str:
    """Abbreviations in full; the full stop stays where it ends a sentence too."""
    spelling = words.spelling
    if spelling.saints:
        text = re.sub(rf"(?<!\w)St\. (?={_NAME})", lambda m: m[0] if _after_name(m) else f"{spelling.saints} ", text)
    if number := spelling.signs.get("number"):
        text = re.sub(rf"(?<!\w)(?:{spelling.numero}) ?(?=\d)", f"{number} ", text)
    if spelling.abbreviations:
        known = "|".join(sorted(map(re.escape, spelling.abbreviations), key=len, reverse=True))

        def say(m: re.Match[str]) -> str:
            behind = m[2].strip()
            ends = not behind or (m[1] in spelling.final and behind.isupper())
            return spelling.abbreviations[m[1]] + "." * (ends and m[1].endswith("."))

        text = re.sub(rf"(?<![\w.])({known})(?!\w)(?=(\s*\S?))", say, text)
    return _initials(text)


def _initials(text: str) -> str:
    """U.S. and J. R. R. without their full stops, but for the one at the end of the text."""
    text = re.sub(
        r"(?<![\w.])((?:[^\W\d_a-z]\.){2,})(\s*$)?",
        lambda m: " ".join(m[1].replace(".", "")) + ("" if m[2] is None else "."),
        text,
    )
    text = re.sub(r"(?<!\w)([^\W\d_a-z])\.(?=\s+[^\W\d_a-z]\.)", r"\1", text)  # J. R. R.
    return re.sub(
        rf"(?<!\w)([^\W\d_a-z])\.(?=\s+{_NAME})", lambda m: m[1] if _after_name(m) or not m.start() else m[0], text
    )


def _after_name(m: re.Match[str]) -> bool:
    """Whether a word with a capital, or an initial, stands before a match."""
    return bool(re.search(r"(?<!\w)[^\W\d_a-zà-öø-ÿ][^\W\d_]*\.?\s+$", m.string[max(0, m.start() - 40) : m.start()]))


def romans(text: str, words: Words) -> str:
    """Roman numerals where they are sure: behind a word such as chapter, and, of two letters or more, behind a name."""
    spelling = words.spelling

    def say(m: re.Match[str]) -> str:
        name, numeral = m[1], m[3]
        heading = name.lower() in spelling.headings
        if not _VALID.fullmatch(numeral) or not (heading or (len(numeral) > 1 and name[0].isupper())):
            return m[0]
        n = _value(numeral)
        if not heading and (n > 39 or not spelling.headings):
            return m[0]
        said = words.ordinal(n, "regnal") if name in spelling.regnal else words.cardinal(n)
        return f"{name}{m[2]}{said}"

    return re.sub(r"(?<!\w)([^\W\d_]{2,})( )([IVXLC]+)(?![\w'])", say, text)


def _value(numeral: str) -> int:
    values = [_ROMAN[letter] for letter in numeral]
    return sum(-v if any(v < w for w in values[i + 1 : i + 2]) else v for i, v in enumerate(values))
