"""The page in which the parser explains an error, read into its complaints.

The page is indented as the recipe is nested. A slot that takes several types has a complaint for each of them: the one
that says most is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from textwrap import indent

from vocolab.recipe.sources import without_init_args

KEY = re.compile(r'Parser key "([^"]+)":?\s*')
OWNER = re.compile(r"Problem with given class_path '([^']+)'")
UNKNOWN = re.compile(
    r"(?:Group '(?P<group>[^']+)' does not accept option|Option) '(?P<key>[^']+)'(?: is not accepted)?"
)
MISSING = re.compile(r"the following arguments are required: ([^,\s]+?)\.?(?:,|\s|$)")
NO_CLASS = re.compile(
    r"(?:Expected a dot import path string|Unexpected import path format): (\S+)"
    r"|Import path (\S+) does not correspond|Expected '([^']+)' to be a subclass"
    r"|No module named '|module '\S+' has no attribute"
)
NO_SPEC = re.compile(r"Not a valid subclass of (\w+)|Expected an instantiatable class, but (?:\w+\.)*(\w+) is abstract")
NO_CALLABLE = re.compile(r"Expected an import path or a subclass spec|Dict must include a class_path")
TYPE = re.compile(r"Expected an? (?!path but)(.+?)(?:\. Got value: .*)?$")
VALUE = re.compile(r"Got value: (.*?)(?:\. Got value: .*)?$")
GIVEN = re.compile(r"Given value: (.*?)(?:\. Got value: .*)?$")
CALLABLE = re.compile(r"Type (.*) expects a function or a callable class: ")
CALLED = re.compile(r"Got value: Namespace\(class_path='([^']+)'")
FRAME = re.compile(  # lines around the complaints
    r"Does not validate against any|Subtypes: |Errors:|Given value type: |Expected a path but |Subclass types expect"
    r"|a class path \(str\)|a dict with|Problem with given class_path '[^']+':?$"
)
LOOP = re.compile(r"Config file loop detected: .*")
NUMBERS = ("int", "float", "bool")
RANKS = ("unknown", "missing", "class", "other", "type")  # of complaints about the same key, what says most comes first


@dataclass
class Complaint:
    """One complaint of the page."""

    kind: str  # one of RANKS
    key: str  # dotted, without `init_args`
    owners: list[str]  # the classes the key lies in, the innermost last; none: the parser
    detail: str  # the unknown or missing key, the name of the class, the parser's words
    value: str | None = None  # what was given, where the page says it
    indent: int = 0
    expected: list[str] = field(default_factory=list)  # types; a class that must be named is written `class_path NAME`

    @property
    def depth(self) -> tuple[int, int]:
        return self.key.count(".") + bool(self.key), self.indent


def page_of(error: BaseException) -> str:
    """The parser's page. Of a wrong slot file it may say that the file names itself, since it reads the file again
    after the first complaint: that line is replaced by the first complaint.
    """
    page = str(error)
    seen: BaseException | None = error
    while seen is not None:
        line = next((line for line in page.splitlines() if line.strip() == str(seen)), None)
        if line is not None and LOOP.fullmatch(str(seen)) and isinstance(seen.__context__, ValueError):
            return page.replace(line, indent(page_of(seen.__context__), line[: len(line) - len(line.lstrip())]))
        seen = seen.__cause__ or seen.__context__
    return page


def cause(page: str) -> Complaint | None:
    """The complaint that says most: the innermost, and of several about one key the first by rank. What the parser
    expected there is gathered from all of them.
    """
    found = list(_complaints(page))
    told = [complaint for complaint in found if complaint.expected != ["null"]] or found
    if not told:
        return None
    deepest = max(complaint.depth for complaint in told)
    told = [complaint for complaint in told if complaint.depth == deepest]
    if told[0].expected and told[0].expected[0] in NUMBERS:  # `float | Tensor`: a word is a wrong number, no class
        told = told[:1]
    best = min(told, key=lambda complaint: RANKS.index(complaint.kind))
    beside = [other for other in found if other.key == best.key and other.indent == best.indent]
    return replace(best, expected=[name for other in beside for name in other.expected])


def _complaints(page: str) -> Iterator[Complaint]:
    """Every complaint with the keys and classes it lies under."""
    found: list[Complaint] = []
    scopes: list[tuple[int, str, str]] = []  # indentation, key, class
    for line in filter(str.strip, page.splitlines()):
        text = line.strip()
        column = len(line) - len(line.lstrip())
        if text.startswith("- "):
            text, column = text[2:], column + 2
        scopes = [scope for scope in scopes if scope[0] < column]
        callable_type = ""
        while match := KEY.match(text) or CALLABLE.match(text):
            text = text[match.end() :]
            if match.re is CALLABLE:
                callable_type = match[1]
                scopes += [(column, "", name) for name in CALLED.findall(text)[:1]]
            elif match[1] not in [key for _, key, _ in scopes[-1:]]:  # some complaints name their key twice
                scopes.append((column, match[1], ""))
        key = ".".join(part for _, key, _ in scopes for part in without_init_args(key))
        if match := GIVEN.match(text):
            for complaint in found:
                if complaint.value is None and complaint.key == key:
                    complaint.value = match[1]
        elif match := OWNER.match(text):
            scopes.append((column, "", match[1]))
        elif not FRAME.match(text):
            owners = [owner for _, _, owner in scopes if owner]
            found.append(_complaint(text, key, owners, column, callable_type))
    yield from found


def _complaint(text: str, key: str, owners: list[str], column: int, callable_type: str) -> Complaint:
    value = match[1] if (match := VALUE.search(text)) else None
    if match := UNKNOWN.match(text):
        return Complaint("unknown", match["group"] or key, owners, match["key"], value, column)
    if match := MISSING.match(text):
        return Complaint("missing", key, owners, match[1], value, column)
    if match := NO_CLASS.match(text):
        name = match[1] or match[2] or match[3] or (owners.pop() if owners else "")
        return Complaint("class", key, owners, name, value, column)
    if match := NO_SPEC.match(text):
        return Complaint("type", key, owners, text, value, column, [f"class_path {match[1] or match[2]}"])
    if NO_CALLABLE.match(text):
        returned = re.findall(r"\w+", callable_type)[-1:]
        return Complaint("type", key, owners, text, value, column, [f"class_path {name}" for name in returned])
    if match := TYPE.match(text):
        return Complaint("type", key, owners, text, value, column, [_type_name(match[1])])
    return Complaint("other", key, owners, text.partition(". Got value: ")[0], value, column)


def _type_name(text: str) -> str:
    if match := re.match(r"<class '(?:\w+\.)*(\w+)'>", text):
        return "null" if match[1] == "NoneType" else match[1]
    if match := re.search(r"Literal\[(.*)\]", text):
        return "one of " + match[1].replace("'", "")
    return text.removeprefix("typing.")
