"""Words of other languages than English by CLDR: numbers by unicode-rbnf, months, currencies and units by Babel."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal
from typing import Any

from vocolab.extras import required
from vocolab.text.normalisation.tables import DAYS, FIRST, LOCAL_NAMES, POINTS, SPELLINGS, TENTHS
from vocolab.text.normalisation.words import Spelling, Words

_HYPHEN = "\u00ad"  # between the parts of a long word
_OBLIQUE = "am vom zum bis dem den des ab seit".split()  # German words before a date in another case


class CLDR(Words):
    """A language with rules for numbers in unicode-rbnf and a locale in Babel.

    Raises `VocolabError` where these packages are missing, `LookupError` for a language that either lacks.
    """

    def __init__(self, language: str):
        if not re.fullmatch("[a-z]{2,3}", language):
            raise LookupError(language)  # what else a corpus may call a language is no file of the packages
        with required("unicode_rbnf", "normalisation"):
            from unicode_rbnf import FormatPurpose, RbnfEngine
        with required("babel", "normalisation"):
            from babel import Locale, UnknownLocaleError
        try:
            self._engine, self._locale = RbnfEngine.for_language(language), Locale.parse(language)
        except (ValueError, UnknownLocaleError) as error:
            raise LookupError(language) from error
        self._purposes: Any = FormatPurpose
        self.language = language
        self.name = f"rules for {self._locale.english_name} (unicode-rbnf, Babel)"
        if self.cardinal(2) == "2":
            raise LookupError(language)  # its locale has no rules of numbers
        self.spelling = self._spelling(SPELLINGS.get(language, Spelling()))

    def cardinal(self, n: int) -> str:
        return self._said(n, self._purposes.CARDINAL, "spellout-numbering")

    def ordinal(self, n: int, form: str = "") -> str:
        form = "" if form == "regnal" else form
        if n == 1 and form == "masculine" and self.language in FIRST:
            return FIRST[self.language]
        return self._said(n, self._purposes.ORDINAL, f"spellout-ordinal-{form}".rstrip("-"))

    def year(self, n: int) -> str:
        return self._said(n, self._purposes.YEAR, "spellout-numbering-year")

    def number(self, count: str) -> str:
        minus = f"{self.spelling.signs['minus']} " if count.startswith("-") else ""
        whole, _, fraction = count.removeprefix("-").partition(".")
        if fraction and self.language in TENTHS and len(fraction) <= 3:
            return minus + self._tenths(int(whole), fraction)
        point = f" {self.spelling.signs['point']} {self.digits(fraction)}" if fraction else ""
        return f"{minus}{self.cardinal(int(whole))}{point}"

    def counted(self, count: str) -> str:
        if count == "1":
            return self._said(1, self._purposes.CARDINAL, "spellout-cardinal-masculine")
        return self.number(count)

    def date(self, day: int | None, month: int, year: int | None, before: str = "", day_first: bool = True) -> str:
        link, names = self.spelling.date_link, self._locale.months["format"]["wide"]
        if day is None:
            names = self._locale.months["stand-alone"]["wide"]
        parts = [] if day is None else [self._day(day, before)]
        parts.append(names[month])
        if year is not None:
            parts.append(self._year_of_date(year))
        return f" {link} ".join(parts) if link else " ".join(parts)

    def time(self, hour: int, minute: int, second: int | None) -> str:
        parts = [self.cardinal(hour), self.spelling.hours, self.cardinal(minute) if minute or second else ""]
        if second is not None:
            parts.append(self.cardinal(second))
        elif not minute and not self.spelling.hours:
            parts[2] = self.digits("00")
        return " ".join(part for part in parts if part)

    def money(self, count: str, currency: str, scale: str = "") -> str:
        from babel.numbers import get_currency_name

        whole, _, fraction = count.partition(".")
        local = LOCAL_NAMES.get((self.language, currency))
        minor = len(fraction) == 2
        n = Decimal(whole if minor else count)
        categories = ["one", "few", "many", "other"] if local and len(local) == 4 else ["one", "other"]
        if local:
            category = self._locale.plural_form(n)
            noun = local[categories.index(category) if category in categories else -1]
        else:
            noun = get_currency_name(currency, count=n, locale=self._locale)
        said = [self.counted(whole if minor else count), noun]
        if minor and int(fraction):
            said += [self.spelling.signs.get("money", ""), self.cardinal(int(fraction))]
        return " ".join(part for part in said if part)

    def measure(self, count: str, unit: str) -> str:
        from babel.units import UnknownUnitError, format_unit

        try:
            said = format_unit(Decimal(count), unit, length="long", format="0.######", locale=self._locale)
        except UnknownUnitError:
            return ""
        digits = format_unit(Decimal(count), "length-meter", length="long", format="0.######", locale=self._locale)
        digits = digits[: sum(1 for c in digits if not c.isalpha() and not c.isspace())]
        if unit == "concentr-percent" and "%" in said:
            said = f"{digits} {self.spelling.signs.get('%', '%')}"
        if digits not in said or any(c in said for c in "%‰°/"):
            return ""
        return " ".join(said.replace(digits, f" {self.counted(count)} ", 1).split())

    def fraction(self, numerator: int, denominator: int) -> str:
        return ""

    def _spelling(self, own: Spelling) -> Spelling:
        """What the tables say of a language, with what CLDR knows."""
        symbols = self._locale.number_symbols.get("latn", self._locale.number_symbols)
        months: dict[str, int] = {}
        for width in ("abbreviated", "wide"):
            for context in ("format", "stand-alone"):
                for number, name in self._locale.months[context][width].items():
                    if not name[0].isdecimal():
                        months[name.lower().rstrip(".")] = number
        signs = {"minus": self._minus(), "point": POINTS.get(self.language) or self._point(), **own.signs}
        group = symbols.get("group", ",")
        return dataclasses.replace(
            own,
            decimal=symbols.get("decimal", "."),
            group=" " if group.isspace() else group,
            months=months,
            signs=signs,
        )

    def _minus(self) -> str:
        return self._said(-2, self._purposes.CARDINAL, "spellout-numbering").removesuffix(self.cardinal(2)).strip()

    def _point(self) -> str:
        """The word for the decimal mark: what stands between the numbers in 1.2."""
        said = self._said("1.2", self._purposes.CARDINAL, "spellout-numbering")
        parts = said.split()
        if len(parts) >= 3:
            return " ".join(parts[1:-1])
        return said.removeprefix(self.cardinal(1)).removesuffix(self.cardinal(2)).strip()

    def _day(self, day: int, before: str) -> str:
        if day == 1 and self.language in FIRST:
            return FIRST[self.language]
        form = DAYS.get(self.language)
        if form is None:
            return self.cardinal(day)
        if self.language == "de":  # der fünfte Mai, am fünften Mai, fünfter Mai
            form = "spellout-ordinal" if before in ("der", "dieser") else form
            form = "spellout-ordinal-n" if before in _OBLIQUE else form
        return self._said(day, self._purposes.ORDINAL, form)

    def _year_of_date(self, year: int) -> str:
        if self.language == "ru":
            return self._said(year, self._purposes.ORDINAL, "spellout-ordinal-masculine-genitive") + " года"
        return self.year(year)

    def _tenths(self, whole: int, fraction: str) -> str:
        """три целых пять десятых."""
        ones, parts = TENTHS[self.language]
        part = parts[len(fraction) - 1]
        feminine = "spellout-cardinal-feminine"
        said = []
        for n, (one, many) in ((whole, ones), (int(fraction), part)):
            number = self._said(n, self._purposes.CARDINAL, feminine)
            said += [number, one if n % 10 == 1 and n % 100 != 11 else many]
        return " ".join(said)

    def _said(self, n: int | str, purpose: Any, ruleset: str) -> str:
        """A number by a set of rules, or by the first that there is for this purpose."""
        from unicode_rbnf.engine import NoRuleForNumberError

        if isinstance(n, int) and abs(n) >= 10**15:
            return self.digits(str(n))
        for kind in (purpose, self._purposes.CARDINAL):
            try:
                found = self._engine.format_number(str(n), kind)
                break
            except (NoRuleForNumberError, ValueError):  # it has none of this kind
                continue
        else:
            return str(n)  # left over
        said = found.text_by_ruleset.get(ruleset) or found.text
        return " ".join(said.replace(_HYPHEN, "").replace("ʼ", "'").split())
