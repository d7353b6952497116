"""Numbers, and the signs that stand among words."""

from __future__ import annotations

import re

from vocolab.text.normalisation.words import Spelling, Words

_LONGEST = 15  # digits of a number that is said as one; a longer one is said digit by digit
_MINUS = "[-−–]"
_EMPHASIS = re.compile(r"(?<![\w*])[*_]+(?=\w)|(?<=[\w.,!?])[*_]+(?!\w)")  # *so* or _so_


def pattern(spelling: Spelling) -> str:
    """A regular expression of a number without its sign: 3, 3.50, 1,234.5."""
    group, mark = re.escape(spelling.group), re.escape(spelling.decimal)
    grouped = rf"\d{{1,3}}(?:{group}\d{{3}})+(?!\d)"
    other = r"|\d+\.\d{1,2}(?![\d.])" if spelling.decimal != "." else ""  # 3.5, as much of the world writes it
    return rf"(?:(?:{grouped}|\d+)(?:{mark}\d+)(?!{mark}?\d){other}|{grouped}|\d+)"


def count(written: str, spelling: Spelling) -> str:
    """A number as digits, with a full stop before its fraction."""
    if spelling.decimal != "." and re.fullmatch(r"\d+\.\d{1,2}", written):
        return written
    return written.replace(spelling.group, "").replace(spelling.decimal, ".")


def put(match: re.Match[str], said: str) -> str:
    """Words in the place of a match, parted from letters and digits beside it."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return f"{' ' * before.isalnum()}{said}{' ' * after.isalnum()}"


def phones(text: str, words: Words) -> str:
    """Telephone numbers digit by digit, with a comma where they are parted."""
    plus = words.spelling.signs.get("+", "")

    def say(m: re.Match[str]) -> str:
        parts = [words.digits(part) for part in re.findall(r"\d+", m[0])]
        return put(m, ", ".join([f"{plus} {parts[0]}".strip() if m[0].startswith("+") else parts[0], *parts[1:]]))

    whole = r"\+\d(?:[ ./-]?\(?\d+\)?){2,6}"
    american = r"(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}|\d{3}-\d{4}"
    french = r"0\d(?:[ .]\d\d){4}"
    return re.sub(rf"(?<![\w+.-])(?:{whole}|{american}|{french})(?![\w-])", say, text)


def ordinals(text: str, words: Words) -> str:
    forms = words.spelling.ordinals
    if not forms:
        return text
    suffixes = "|".join(sorted(map(re.escape, forms), key=len, reverse=True))

    def say(m: re.Match[str]) -> str:
        return put(m, words.ordinal(int(count(m[1], words.spelling)), forms[m[2].lower()]))

    whole = rf"\d{{1,3}}(?:{re.escape(words.spelling.group)}\d{{3}})+|\d{{1,{_LONGEST}}}"
    return re.sub(rf"(?<![\w.,])({whole})[-.’']?({suffixes})(?!\w)", say, text, flags=re.IGNORECASE)


def bare_fractions(text: str, words: Words) -> str:
    """.5 with the zero that it lacks."""
    if words.spelling.decimal != ".":
        return text
    return re.sub(r"(?<![\w.)\]])\.(?=\d)", "0.", text)


def ranges(text: str, words: Words) -> str:
    """10–20, 1939-1945; what has more parts, such as 1-2-3, is no range."""
    to, number = words.spelling.signs.get("to"), pattern(words.spelling)
    if not to:
        return text
    return re.sub(rf"(?<![\w.,:/-])({number}) ?[-–] ?(?={number}(?![\w/-]))", rf"\1 {to} ", text)


def cardinals(text: str, words: Words) -> str:
    """Every digit that is left."""
    spelling = words.spelling
    point = spelling.signs.get("point", "")
    dot = point if spelling.decimal == "." else spelling.signs.get("dot", point)
    grouped = re.compile(rf"\d{{1,3}}(?:{re.escape(spelling.group)}\d{{3}})+")

    def number(m: re.Match[str]) -> str:
        sign, written = m[1], count(m[2], spelling)
        whole = written.partition(".")[0]
        if (len(whole) > 1 and whole.startswith("0")) or len(whole) > _LONGEST:
            said = words.digits(written)
            return put(m, f"{words.spelling.signs.get('minus', '')} {said}".strip() if sign else said)
        noun = re.match(r"\s[^\W\d_]{2}", m.string[m.end() : m.end() + 3])
        return put(m, (words.counted if noun else words.number)(("-" if sign else "") + written))

    def version(m: re.Match[str]) -> str:
        if grouped.fullmatch(m[0]):  # 1.234.567, where a full stop parts thousands
            return m[0]
        return put(m, f" {dot} ".join(words.cardinal(int(part)) for part in m[0].split(".")))

    if dot:
        text = re.sub(r"(?<![\d.])\d{1,9}(?:\.\d{1,9}){2,}(?![\d.]\d)", version, text)
    text = re.sub(rf"((?:(?<=^)|(?<=[\s(\[{{\"“]))[-−–])?({pattern(spelling)})", number, text)
    return re.sub(r"(?<=\w),(?=\w)", ", ", text)


def signs(text: str, words: Words) -> str:
    """Signs among words by their names; the marks of emphasis of plain text are left out."""
    known = words.spelling.signs
    text = _EMPHASIS.sub("", text)
    text = re.sub(r"(?<=\w)_+(?=\w)", " ", text)
    single = "".join(re.escape(sign) for sign in known if len(sign) == 1 and sign not in "-_:?")
    if not single:
        return text
    return re.sub(rf"\s*([{single}])\s*", lambda m: f" {known[m[1]]} ", text)
