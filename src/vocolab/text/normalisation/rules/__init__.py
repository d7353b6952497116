"""The rules, a file for each kind of thing that is written otherwise than said."""

from __future__ import annotations

from collections.abc import Callable

from vocolab.text.normalisation.rules import amounts, calendar, names, numbers, web
from vocolab.text.normalisation.words import Words

Rule = Callable[[str, Words], str]

# Each rewrites what it knows and leaves the rest to those behind it: what more of its surroundings tell comes first.
CONTEXT: tuple[Rule, ...] = (
    web.mails,
    web.addresses,
    web.tags,
    numbers.bare_fractions,
    calendar.dates,
    calendar.decades,
    numbers.phones,
    calendar.times,
    amounts.money,
    amounts.measures,
    amounts.fractions,
    numbers.ordinals,
    names.abbreviations,
    names.romans,
    numbers.ranges,
    calendar.years,
)
NUMBERS: tuple[Rule, ...] = (numbers.cardinals,)
SIGNS: tuple[Rule, ...] = (numbers.signs,)
