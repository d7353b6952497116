"""What the rules need to know of a language."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spelling:
    """How numbers, dates and abbreviations are written in a language, and the words for signs."""

    decimal: str = "."  # between a number and its fraction
    group: str = ","  # between thousands
    month_first: bool = False  # 5/6/2021 is in May
    months: Mapping[str, int] = field(default_factory=dict)  # by lower-case name or abbreviation without its full stop
    signs: Mapping[str, str] = field(default_factory=dict)  # words of "@", "&", "+" and others
    abbreviations: Mapping[str, str] = field(default_factory=dict)  # as written, with full stop → words
    final: frozenset[str] = frozenset()  # abbreviations that often end a sentence, whose full stop may be its own
    saints: str = ""  # what `St.` before a name is; behind one, it is `abbreviations["St."]`
    numero: str = r"№|[Nn]o\.|[Nn]º"  # what stands before a number as its word, as a regular expression
    ordinals: Mapping[str, str] = field(default_factory=dict)  # suffix of a number → form that `Words.ordinal` takes
    headings: frozenset[str] = frozenset()  # lower-case words after which a Roman numeral counts: chapter IV
    regnal: frozenset[str] = frozenset()  # names after which it is an ordinal: Henry VIII
    date_link: str = ""  # between day and month, and month and year: 5 de mayo de 2021
    after_year: str = ""  # what may follow the year of a date and is said with it, as a regular expression
    hours: str = ""  # what follows the number of a time that has minutes: 10:30 Uhr, 10h30


class Words(ABC):
    """Numbers and what is counted, in the words of a language. `count` is a number as digits: `3`, `3.50`, with a
    full stop before its fraction.
    """

    language: str
    name: str  # of the rules, for a line to the user
    spelling: Spelling

    @abstractmethod
    def cardinal(self, n: int) -> str: ...

    @abstractmethod
    def ordinal(self, n: int, form: str = "") -> str:
        """`form`: a value of `Spelling.ordinals`, or `regnal` behind a name; empty: the usual one."""

    @abstractmethod
    def year(self, n: int) -> str: ...

    @abstractmethod
    def number(self, count: str) -> str:
        """A number that may have a fraction and a minus before it."""

    @abstractmethod
    def date(self, day: int | None, month: int, year: int | None, before: str = "", day_first: bool = True) -> str:
        """`before`: the word before it, in lower case, which may decide its form; `day_first`: as it is written."""

    @abstractmethod
    def time(self, hour: int, minute: int, second: int | None) -> str: ...

    @abstractmethod
    def money(self, count: str, currency: str, scale: str = "") -> str:
        """`currency`: USD and so on; `scale`: a word such as million."""

    @abstractmethod
    def measure(self, count: str, unit: str) -> str:
        """`unit`: a value of `units.UNITS`."""

    @abstractmethod
    def fraction(self, numerator: int, denominator: int) -> str:
        """Empty where the language's rules know none."""

    def counted(self, count: str) -> str:
        """A number before a noun, as far as that is known: un euro, ein Hund."""
        return self.number(count)

    def digits(self, text: str) -> str:
        """Digit by digit."""
        return " ".join(self.cardinal(int(c)) for c in text if c.isdecimal())
