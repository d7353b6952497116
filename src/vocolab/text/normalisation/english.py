"""English in words, without any package."""

from __future__ import annotations

from decimal import Decimal

from vocolab.text.normalisation.words import Spelling, Words

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ["", "thousand", "million", "billion", "trillion", "quadrillion"]
ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
MONTHS = ("January February March April May June July August September October November December").split()
CURRENCIES = {  # one, several, a hundredth, hundredths
    "USD": ("dollar", "dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "JPY": ("yen", "yen", "", ""),
    "CNY": ("yuan", "yuan", "", ""),
    "CHF": ("franc", "francs", "centime", "centimes"),
    "RUB": ("ruble", "rubles", "kopek", "kopeks"),
    "INR": ("rupee", "rupees", "paisa", "paise"),
    "KRW": ("won", "won", "", ""),
    "UAH": ("hryvnia", "hryvnias", "kopiyka", "kopiykas"),
    "TRY": ("lira", "lira", "kurus", "kurus"),
    "ILS": ("shekel", "shekels", "agora", "agorot"),
    "VND": ("dong", "dong", "", ""),
    "BRL": ("real", "reais", "centavo", "centavos"),
    "PLN": ("zloty", "zlotys", "grosz", "grosze"),
    "CZK": ("koruna", "korunas", "haler", "halers"),
    "HUF": ("forint", "forints", "", ""),
    "SEK": ("krona", "kronor", "ore", "ore"),
}
UNITS = {  # where the plural is not the last part of CLDR's name and an s
    "concentr-percent": ("percent", "percent"),
    "concentr-permille": ("per mille", "per mille"),
    "temperature-celsius": ("degree Celsius", "degrees Celsius"),
    "temperature-fahrenheit": ("degree Fahrenheit", "degrees Fahrenheit"),
    "speed-kilometer-per-hour": ("kilometer per hour", "kilometers per hour"),
    "speed-meter-per-second": ("meter per second", "meters per second"),
    "speed-mile-per-hour": ("mile per hour", "miles per hour"),
    "length-foot": ("foot", "feet"),
    "frequency-hertz": ("hertz", "hertz"),
    "frequency-kilohertz": ("kilohertz", "kilohertz"),
    "frequency-megahertz": ("megahertz", "megahertz"),
    "frequency-gigahertz": ("gigahertz", "gigahertz"),
}
SPELLING = Spelling(
    month_first=True,
    months={
        **{name.lower(): n for n, name in enumerate(MONTHS, 1)},
        **{name[:3].lower(): n for n, name in enumerate(MONTHS, 1)},
        "sept": 9,
    },
    signs={
        "minus": "minus", "?": "question mark", "#": "hash", "to": "to", "point": "point",
        "number": "number", "hashtag": "hashtag", "@": "at",
        "dot": "dot", "/": "slash", "-": "dash", "_": "underscore", ":": "colon", "&": "and", "+": "plus",
        "=": "equals", "×": "times", "÷": "divided by", "±": "plus or minus", "<": "less than", ">": "greater than",
        "≤": "at most", "≥": "at least", "≈": "about", "~": "about", "°": "degrees", "©": "copyright",
        "®": "registered", "²": "squared", "³": "cubed", "§": "section", "→": "to",
        "%": "percent", "∞": "infinity", "√": "root", "$": "dollar", "€": "euro", "£": "pound", "¥": "yen",
    },
    abbreviations={
        "St.": "Street",
        "Dr.": "Doctor", "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Prof.": "Professor", "Jr.": "Junior",
        "Sr.": "Senior", "Rev.": "Reverend", "Hon.": "Honorable", "Gen.": "General", "Col.": "Colonel",
        "Capt.": "Captain", "Lt.": "Lieutenant", "Sgt.": "Sergeant", "Gov.": "Governor", "Sen.": "Senator",
        "Rep.": "Representative", "Pres.": "President", "Mt.": "Mount", "Ft.": "Fort", "Ave.": "Avenue",
        "Blvd.": "Boulevard", "Rd.": "Road", "Inc.": "Incorporated", "Ltd.": "Limited", "Corp.": "Corporation",
        "Dept.": "Department", "Univ.": "University", "e.g.": "for example", "i.e.": "that is",
        "etc.": "et cetera", "vs.": "versus", "approx.": "approximately", "cf.": "compare", "ca.": "circa",
        "est.": "established", "vol.": "volume", "Vol.": "Volume", "ch.": "chapter", "fig.": "figure",
        "Fig.": "Figure", "w/o": "without", "w/": "with", "a.m.": "AM", "p.m.": "PM", "dept.": "department",
        "incl.": "including", "tel.": "telephone", "Tel.": "Telephone", "Mon.": "Monday", "Tue.": "Tuesday",
        "Wed.": "Wednesday", "Thu.": "Thursday", "Fri.": "Friday", "Jan.": "January", "Feb.": "February",
        "Aug.": "August", "Sept.": "September", "Oct.": "October", "Nov.": "November", "Dec.": "December",
    },
    final=frozenset(
        "etc. a.m. p.m. Inc. Ltd. Corp. Jr. Sr. St. Ave. Rd. Blvd.".split()
    ),
    saints="Saint",
    numero=r"№|[Nn]o\.|[Nn]º|#",
    ordinals=dict.fromkeys(("st", "nd", "rd", "th"), ""),
    headings=frozenset(
        "chapter part volume book section act scene article appendix war figure table page phase type class stage"
        .split()
    ),
    regnal=frozenset(
        "Henry Louis Elizabeth Charles George Edward William James Richard Philip Napoleon Catherine Nicholas Peter "
        "Alexander Frederick Pius Benedict Paul Leo Gregory Innocent Clement Ramses Ptolemy Otto Ferdinand Harald"
        .split()
    ),
)  # fmt: skip


class English(Words):
    """English of the United States: no `and` in numbers, the month before the day."""

    language, name, spelling = "en", "English rules", SPELLING

    def cardinal(self, n: int) -> str:
        if n < 0:
            return f"minus {self.cardinal(-n)}"
        if n >= 1000 ** len(SCALES):
            return self.digits(str(n))
        parts = []
        for power in reversed(range(len(SCALES))):
            group = n // 1000**power % 1000
            if group:
                parts += [_below_a_thousand(group), SCALES[power]]
        return " ".join(part for part in parts if part) or "zero"

    def ordinal(self, n: int, form: str = "") -> str:
        *first, last = self.cardinal(n).split(" ")
        if last.endswith("y"):
            last = last[:-1] + "ieth"
        said = " ".join([*first, ORDINALS.get(last, last if last.endswith("th") else last + "th")])
        return f"the {said}" if form == "regnal" else said

    def year(self, n: int) -> str:
        century, rest = divmod(n, 100)
        if not 1100 <= n <= 2099 or 2000 <= n <= 2009:
            return self.cardinal(n)
        if rest == 0:
            return f"{self.cardinal(century)} hundred"
        return f"{self.cardinal(century)} {'oh ' if rest < 10 else ''}{self.cardinal(rest)}"

    def number(self, count: str) -> str:
        whole, _, fraction = count.removeprefix("-").partition(".")
        said = self.cardinal(int(whole)) + (f" point {self.digits(fraction)}" if fraction else "")
        return f"minus {said}" if count.startswith("-") else said

    def date(self, day: int | None, month: int, year: int | None, before: str = "", day_first: bool = True) -> str:
        said = MONTHS[month - 1]
        if day is not None and day_first:
            said = f"{'' if before == 'the' else 'the '}{self.ordinal(day)} of {said}"
        elif day is not None:
            said += f" {self.ordinal(day)}"
        return said if year is None else f"{said}{',' * (day is not None)} {self.year(year)}"

    def time(self, hour: int, minute: int, second: int | None) -> str:
        said = self.cardinal(hour)
        if minute:
            said += f" {'oh ' if minute < 10 else ''}{self.cardinal(minute)}"
        elif second is None:
            said += " o'clock" if 1 <= hour <= 12 else " hundred"
        return said if second is None else f"{said} and {_plural(self.cardinal(second), second, 'second')}"

    def money(self, count: str, currency: str, scale: str = "") -> str:
        one, many, cent, cents = CURRENCIES[currency]
        whole, _, fraction = count.partition(".")
        if scale or (fraction and (len(fraction) != 2 or not cent)):
            return " ".join(filter(None, [self.number(count), scale, many]))
        said = [f"{self.cardinal(int(whole))} {one if int(whole) == 1 else many}"]
        if fraction and int(fraction):
            said.append(f"{self.cardinal(int(fraction))} {cent if int(fraction) == 1 else cents}")
        return " and ".join(said if int(whole) or len(said) == 1 else said[1:])

    def measure(self, count: str, unit: str) -> str:
        one, many = UNITS.get(unit) or _unit_name(unit)
        return f"{self.number(count)} {one if Decimal(count) == 1 else many}"

    def fraction(self, numerator: int, denominator: int) -> str:
        if not (1 <= numerator < 100 and 2 <= denominator <= 100):
            return ""
        below = {2: "half", 4: "quarter"}.get(denominator) or self.ordinal(denominator)
        many = {2: "halves"}.get(denominator, below + "s")
        return f"{self.cardinal(numerator)} {below if numerator == 1 else many}"


def _below_a_thousand(n: int) -> str:
    hundreds, rest = divmod(n, 100)
    parts = [f"{ONES[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        parts += [TENS[rest // 10], *([ONES[rest % 10]] if rest % 10 else [])]
    elif rest:
        parts.append(ONES[rest])
    return " ".join(parts)


def _unit_name(unit: str) -> tuple[str, str]:
    """`area-square-meter`: square meter, square meters."""
    one = unit.partition("-")[2].replace("-", " ")
    return one, one + "s"


def _plural(count: str, n: int, noun: str) -> str:
    return f"{count} {noun}" if n == 1 else f"{count} {noun}s"
