"""Dates, years and times of day."""

from __future__ import annotations

import re

from vocolab.text.normalisation.rules.numbers import put
from vocolab.text.normalisation.words import Words

_DAY, _YEAR = r"(0?[1-9]|[12]\d|3[01])", r"(1\d{3}|20\d{2})"
_CLOCK = r"(?:\d\d?:\d\d(?:\s?[ap]\.?m\b\.?)?|\d\d?\s?[ap]m)"
_NEXT = r"(?![\w/.-]*\d)"
_BEFORE = re.compile(r"([^\W\d_]+)\s*$")


def dates(text: str, words: Words) -> str:
    """2021-05-05, 5/5/2021, 5.5.2021, 5 May 2021, May 5th, 2021, May 2021."""
    text = re.sub(r"(?<![\w/.-])(\d{4})-(\d\d)-(\d\d)(?!\d|-)", lambda m: _numeric(m, m[3], m[2], m[1], words), text)

    def parted(m: re.Match[str]) -> str:
        month_first = m[2] == "/" and words.spelling.month_first
        day, month = (m[3], m[1]) if month_first and int(m[1]) <= 12 else (m[1], m[3])
        if int(month) > 12:
            day, month = month, day
        return _numeric(m, day, month, m[4], words)

    text = re.sub(rf"(?<![\w/.-])(\d\d?)([./-])(\d\d?)\2{_YEAR}(?!\d|[/-]\d)", parted, text)
    return _with_names(text, words)


def _numeric(m: re.Match[str], day: str, month: str, year: str, words: Words) -> str:
    if not (1 <= int(day) <= 31 and 1 <= int(month) <= 12):
        return m[0]
    return put(m, words.date(int(day), int(month), int(year), _before(m), not words.spelling.month_first))


def _with_names(text: str, words: Words) -> str:
    spelling = words.spelling
    if not spelling.months:
        return text
    name = "|".join(sorted(map(re.escape, spelling.months), key=len, reverse=True))
    name, link = rf"({name})\b(?:(?<=[^\W\d_]{{3}})\.(?=[\s,]+\d))?", spelling.date_link
    joined = rf"\s+(?:{link}\s+)?" if link else r"\s+"
    suffix = "|".join(sorted(map(re.escape, {*spelling.ordinals, "."} - {""}), key=len, reverse=True))

    def say(day: str | None, month: str, year: str | None, m: re.Match[str], day_first: bool) -> str:
        if spelling.month_first and month[0].islower():  # it may 5 times
            return m[0]
        number = spelling.months[month.lower()]
        said = words.date(int(day) if day else None, number, int(year) if year else None, _before(m), day_first)
        return put(m, said)

    flags, after = re.IGNORECASE, rf"(?:\s*(?:{spelling.after_year}))?" if spelling.after_year else ""
    first = rf"(?<![\w.,:/-]){_DAY}(?:{suffix})?{joined}(?:of\s+)?{name}(?:,?{joined}{_YEAR}{_NEXT}{after})?(?!\w)"
    text = re.sub(first, lambda m: say(m[1], m[2], m[3], m, True), text, flags=flags)
    if spelling.month_first:
        second = rf"(?<!\w){name}\s+{_DAY}(?:{suffix})?(?:,?\s+{_YEAR}{_NEXT})?(?![\w:%]|[.,]\d)"
        text = re.sub(second, lambda m: say(m[2], m[1], m[3], m, False), text, flags=flags)
    third = rf"(?<!\w){name},?{joined}{_YEAR}{_NEXT}"
    return re.sub(third, lambda m: say(None, m[1], m[2], m, True), text, flags=flags)


def _before(m: re.Match[str]) -> str:
    found = _BEFORE.search(m.string[max(0, m.start() - 30) : m.start()])
    return found[1].lower() if found else ""


def times(text: str, words: Words) -> str:
    """10:30, 10:30:15, 10h30, 10:30 Uhr, 5 p.m., 10:00-12:00."""
    hours, to = words.spelling.hours, words.spelling.signs.get("to", "—")
    text = re.sub(rf"(?<![\w.,:/-])({_CLOCK}) ?[-–] ?(?={_CLOCK}(?![\w:-]))", rf"\1 {to} ", text)
    half = r"(?:\s?([ap])\.?\s?m\b(?:\.(?!\s*$|\s+[A-Z]))?)"

    def say(m: re.Match[str]) -> str:
        hour, minute, second = int(m[1]), int(m[2] or 0), int(m[3]) if m[3] else None
        if hour > 24 or minute > 59 or (second or 0) > 59:
            return m[0]
        if m[4] and not minute and second is None:
            return put(m, f"{words.cardinal(hour)} {m[4].upper()}M")
        said = words.time(hour, minute, second)
        return put(m, f"{said} {m[4].upper()}M" if m[4] else said)

    after = rf"(?:\s?(?:{re.escape(hours)}|h)\b)?" if hours else ""
    clock = rf"(?<![\w.,:/-])(\d\d?):(\d\d)(?::(\d\d))?(?![\d:]|[.,]\d){after}{half}?"
    text = re.sub(clock, say, text)
    if words.spelling.month_first:  # AM and PM
        text = re.sub(rf"(?<![\w.,:/-])(\d\d?)()(){half}", say, text)
    if hours:
        text = re.sub(r"(?<![\w.,:/-])(\d\d?)\s?h\s?(\d\d)()()(?!\w)", say, text)
    return text


def decades(text: str, words: Words) -> str:
    """The 1990s, the '90s."""
    if words.language != "en":
        return text
    return re.sub(r"(?<![\w.,])(?:'|’)?(1[1-9]\d0|20\d0|[2-9]0)'?s\b", lambda m: _plural(_year(m[1], words)), text)


def years(text: str, words: Words) -> str:
    """Where years are said otherwise than other numbers, any number that looks like one."""
    if words.year(1999) == words.cardinal(1999):
        return text
    return re.sub(rf"(?<![\w.,:/+−]){_YEAR}(?![\w:/]|[.,]\d)", lambda m: words.year(int(m[1])), text)


def _year(written: str, words: Words) -> str:
    return words.year(int(written)) if len(written) == 4 else words.cardinal(int(written))


def _plural(said: str) -> str:
    return said[:-1] + "ies" if said.endswith("y") else said + "s"
