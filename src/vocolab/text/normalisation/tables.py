"""What CLDR does not hold of some languages: words of signs, abbreviations, ordinals' suffixes."""

# ruff: noqa: E501 (a language's words stand together)

from __future__ import annotations

from vocolab.text.normalisation.words import Spelling

POINTS = {"pl": "przecinek"}  # the decimal mark's word, where the rules of numbers give none

SPELLINGS: dict[str, Spelling] = {
    "de": Spelling(
        signs={"to": "bis", "number": "Nummer", "hashtag": "Hashtag", "@": "at", "dot": "Punkt", "/": "Schrägstrich", "-": "Bindestrich", "_": "Unterstrich", ":": "Doppelpunkt", "&": "und", "+": "plus", "=": "gleich", "×": "mal", "²": "hoch zwei", "³": "hoch drei", "§": "Paragraf", "#": "Raute", "%": "Prozent", "°": "Grad", "±": "plus minus", "<": "kleiner als", ">": "größer als", "≈": "ungefähr", "~": "ungefähr", "?": "Fragezeichen"},
        abbreviations={"Dr.": "Doktor", "Prof.": "Professor", "Hr.": "Herr", "Fr.": "Frau", "St.": "Sankt", "Str.": "Straße", "z.B.": "zum Beispiel", "z. B.": "zum Beispiel", "d.h.": "das heißt", "d. h.": "das heißt", "u.a.": "unter anderem", "u. a.": "unter anderem", "usw.": "und so weiter", "bzw.": "beziehungsweise", "ca.": "circa", "etc.": "et cetera", "vgl.": "vergleiche", "evtl.": "eventuell", "ggf.": "gegebenenfalls", "inkl.": "inklusive", "Tel.": "Telefon", "S.": "Seite", "Abb.": "Abbildung", "Bd.": "Band", "Mio.": "Millionen", "Mrd.": "Milliarden", "v.Chr.": "vor Christus", "n.Chr.": "nach Christus", "v. Chr.": "vor Christus", "n. Chr.": "nach Christus"},
        final=frozenset({"usw.", "etc."}),
        numero=r"№|Nr\.|Nº",
        headings=frozenset("kapitel teil band akt szene abschnitt weltkrieg".split()),
        hours="Uhr",
    ),
    "fr": Spelling(
        signs={"to": "à", "number": "numéro", "hashtag": "hashtag", "@": "arobase", "dot": "point", "/": "barre oblique", "-": "tiret", "_": "tiret bas", ":": "deux points", "&": "et", "+": "plus", "=": "égale", "×": "fois", "²": "au carré", "³": "au cube", "§": "paragraphe", "#": "dièse", "%": "pour cent", "°": "degrés", "±": "plus ou moins", "<": "inférieur à", ">": "supérieur à", "≈": "environ", "~": "environ", "?": "point d'interrogation"},
        abbreviations={"M.": "monsieur", "MM.": "messieurs", "Mme": "madame", "Mmes": "mesdames", "Mlle": "mademoiselle", "Dr": "docteur", "Pr": "professeur", "St": "Saint", "Ste": "Sainte", "p. ex.": "par exemple", "c.-à-d.": "c'est-à-dire", "etc.": "et cetera", "env.": "environ", "av. J.-C.": "avant Jésus-Christ", "apr. J.-C.": "après Jésus-Christ", "tél.": "téléphone", "vol.": "volume", "chap.": "chapitre", "bd": "boulevard"},
        final=frozenset({"etc."}),
        numero=r"№|[Nn]°|[Nn]º|[Nn]o\.",
        ordinals={"er": "masculine", "re": "feminine", "ère": "feminine", "e": "masculine", "ème": "masculine", "nd": "masculine", "nde": "feminine"},
        headings=frozenset("chapitre partie tome acte scène livre".split()),
        hours="heures",
    ),
    "es": Spelling(
        signs={"to": "a", "number": "número", "hashtag": "hashtag", "@": "arroba", "dot": "punto", "/": "barra", "-": "guion", "_": "guion bajo", ":": "dos puntos", "&": "y", "+": "más", "=": "igual a", "×": "por", "²": "al cuadrado", "³": "al cubo", "§": "sección", "#": "almohadilla", "%": "por ciento", "°": "grados", "±": "más o menos", "<": "menor que", ">": "mayor que", "≈": "aproximadamente", "~": "aproximadamente", "?": "signo de interrogación", "money": "con"},
        abbreviations={"Sr.": "señor", "Sra.": "señora", "Srta.": "señorita", "Dr.": "doctor", "Dra.": "doctora", "Ud.": "usted", "Uds.": "ustedes", "p. ej.": "por ejemplo", "p.ej.": "por ejemplo", "etc.": "etcétera", "pág.": "página", "págs.": "páginas", "aprox.": "aproximadamente", "tel.": "teléfono", "Avda.": "avenida", "EE. UU.": "Estados Unidos", "EE.UU.": "Estados Unidos", "a. C.": "antes de Cristo", "d. C.": "después de Cristo", "cap.": "capítulo"},
        final=frozenset({"etc."}),
        numero=r"№|[Nn]\.?º|[Nn]úm\.|[Nn]o\.",
        ordinals={"º": "masculine", "ª": "feminine", ".º": "masculine", ".ª": "feminine", "er": "masculine-adjective"},
        headings=frozenset("capítulo parte tomo acto escena libro siglo".split()),
        date_link="de",
    ),
    "it": Spelling(
        signs={"to": "a", "number": "numero", "hashtag": "hashtag", "@": "chiocciola", "dot": "punto", "/": "barra", "-": "trattino", "_": "trattino basso", ":": "due punti", "&": "e", "+": "più", "=": "uguale a", "×": "per", "²": "al quadrato", "³": "al cubo", "#": "cancelletto", "%": "per cento", "°": "gradi", "?": "punto interrogativo", "money": "e"},
        abbreviations={"Sig.": "signor", "Sig.ra": "signora", "Dott.": "dottor", "Dr.": "dottor", "Prof.": "professor", "ecc.": "eccetera", "pag.": "pagina", "es.": "esempio", "ca.": "circa", "tel.": "telefono"},
        final=frozenset({"ecc."}),
        numero=r"№|[Nn]\.|[Nn]º|[Nn]°",
        ordinals={"º": "masculine", "ª": "feminine", "°": "masculine"},
        headings=frozenset("capitolo parte atto scena libro volume".split()),
    ),
    "pt": Spelling(
        signs={"to": "a", "number": "número", "hashtag": "hashtag", "@": "arroba", "dot": "ponto", "/": "barra", "-": "hífen", "_": "sublinhado", ":": "dois pontos", "&": "e", "+": "mais", "=": "igual a", "×": "vezes", "²": "ao quadrado", "³": "ao cubo", "#": "cerquilha", "%": "por cento", "°": "graus", "?": "ponto de interrogação", "money": "e"},
        abbreviations={"Sr.": "senhor", "Sra.": "senhora", "Dr.": "doutor", "Dra.": "doutora", "Prof.": "professor", "etc.": "et cetera", "pág.": "página", "p. ex.": "por exemplo", "tel.": "telefone", "Av.": "avenida"},
        final=frozenset({"etc."}),
        numero=r"№|[Nn]\.?º|[Nn]°",
        ordinals={"º": "masculine", "ª": "feminine", ".º": "masculine", ".ª": "feminine"},
        headings=frozenset("capítulo parte ato cena livro volume século".split()),
        date_link="de",
    ),
    "nl": Spelling(
        signs={"to": "tot", "number": "nummer", "hashtag": "hashtag", "@": "apenstaartje", "dot": "punt", "/": "schuine streep", "-": "streepje", "_": "onderstrepingsteken", ":": "dubbele punt", "&": "en", "+": "plus", "=": "is", "×": "maal", "²": "kwadraat", "#": "hekje", "%": "procent", "°": "graden", "?": "vraagteken"},
        abbreviations={"dhr.": "de heer", "mevr.": "mevrouw", "dr.": "doctor", "prof.": "professor", "bijv.": "bijvoorbeeld", "bv.": "bijvoorbeeld", "enz.": "enzovoort", "d.w.z.": "dat wil zeggen", "o.a.": "onder andere", "ca.": "circa", "blz.": "bladzijde", "t/m": "tot en met", "tel.": "telefoon"},
        final=frozenset({"enz."}),
        numero=r"№|[Nn]r\.|[Nn]o\.",
        ordinals={"e": "", "ste": "", "de": ""},
        headings=frozenset("hoofdstuk deel akte boek".split()),
        hours="uur",
    ),
    "ru": Spelling(
        signs={"number": "номер", "hashtag": "хештег", "@": "собака", "dot": "точка", "/": "слэш", "-": "дефис", "_": "нижнее подчёркивание", ":": "двоеточие", "&": "и", "+": "плюс", "=": "равно", "×": "умножить на", "²": "в квадрате", "³": "в кубе", "§": "параграф", "#": "решётка", "%": "процентов", "°": "градусов", "±": "плюс-минус", "<": "меньше", ">": "больше", "≈": "примерно", "~": "примерно", "?": "вопросительный знак"},
        abbreviations={"г.": "года", "т.е.": "то есть", "т. е.": "то есть", "т.д.": "так далее", "т. д.": "так далее", "т.п.": "тому подобное", "т. п.": "тому подобное", "т.к.": "так как", "т. к.": "так как", "др.": "другие", "г-н": "господин", "г-жа": "госпожа", "проф.": "профессор", "ул.": "улица", "стр.": "страница", "тыс.": "тысяч", "млн": "миллионов", "млрд": "миллиардов", "тел.": "телефон", "см.": "смотри", "н.э.": "нашей эры", "н. э.": "нашей эры"},
        final=frozenset({"т.д.", "т. д.", "т.п.", "т. п.", "др."}),
        ordinals={"-й": "masculine", "-я": "feminine", "-е": "neuter", "-го": "masculine-genitive", "-му": "masculine-dative", "-м": "masculine-locative", "-ю": "feminine-accusative", "-ая": "feminine", "-ый": "masculine", "-ой": "feminine-genitive"},
        after_year=r"г\.|года",
        headings=frozenset("глава часть том акт сцена книга".split()),
    ),
    "pl": Spelling(
        signs={"to": "do", "number": "numer", "hashtag": "hasztag", "@": "małpa", "dot": "kropka", "/": "ukośnik", "-": "myślnik", "_": "podkreślnik", ":": "dwukropek", "&": "i", "+": "plus", "=": "równa się", "×": "razy", "#": "krzyżyk", "%": "procent", "°": "stopni", "?": "znak zapytania"},
        abbreviations={"np.": "na przykład", "itd.": "i tak dalej", "itp.": "i tym podobne", "tzn.": "to znaczy", "dr": "doktor", "ul.": "ulica", "godz.": "godzina", "tys.": "tysięcy", "mln": "milionów", "mld": "miliardów"},
        final=frozenset({"itd.", "itp."}),
        numero=r"№|[Nn]r",
    ),
    "ko": Spelling(signs={"%": "퍼센트"}),
    "vi": Spelling(signs={"%": "phần trăm"}),
    "ar": Spelling(signs={"%": "بالمئة"}),
}  # fmt: skip

# The form of the day in a date, a set of rules of unicode-rbnf; of the others, the cardinal.
DAYS = {"de": "spellout-ordinal-r", "ru": "spellout-ordinal-neuter-genitive"}
FIRST = {"fr": "premier", "it": "primo"}  # of a month
LOCAL_NAMES = {("ru", "RUB"): ("рубль", "рубля", "рублей", "рубля"), ("es", "USD"): ("dólar", "dólares"), ("fr", "USD"): ("dollar", "dollars"), ("de", "USD"): ("Dollar", "Dollar"), ("ru", "USD"): ("доллар", "доллара", "долларов", "доллара")}  # fmt: skip
TENTHS = {"ru": (("целая", "целых"), (("десятая", "десятых"), ("сотая", "сотых"), ("тысячная", "тысячных")))}
