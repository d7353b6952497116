"""Configuration mistakes in one line: the key, the file and line it stands in, the nearest valid key.

The parser explains itself in a page, nested as the recipe is. The lines of that page are read here; what is not
recognised is passed on, shortened.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jsonargparse import ArgumentParser

from vocolab.errors import UsageError, VocolabError
from vocolab.extras import EXTRAS, install
from vocolab.recipe.sources import Sources, without_init_args

KEY = re.compile(r'Parser key "([^"]+)":?\s*')
OWNER = re.compile(r"Problem with given class_path '([^']+)'")
UNKNOWN = re.compile(
    r"(?:Group '(?P<group>[^']+)' does not accept option|Option) '(?P<key>[^']+)'(?: is not accepted)?"
)
MISSING = re.compile(r"the following arguments are required: ([^,\s]+)")
NO_CLASS = re.compile(
    r"(?:Expected a dot import path string|Unexpected import path format): (\S+)"
    r"|Import path (\S+) does not correspond|Expected '[^']+' to be a subclass"
    r"|No module named '|module '\S+' has no attribute|Not a valid subclass of"
)
NULL = re.compile(r"Expected a <class 'NoneType'>$")
TYPE = re.compile(r"Expected an? (?!path but|dot import)(.+?)(?:\. Got value: (.*?)(?:\. Got value: .*)?)?$")
GIVEN = re.compile(r"Given value: (.*?)(?:\. Got value: .*)?$")
CALLABLE = re.compile(r"Type .* expects a function or a callable class: ")
CALLED = re.compile(r"Got value: Namespace\(class_path='([^']+)'")
FLAG = re.compile(r"unrecognized arguments: (.*)$", re.DOTALL)
NO_VALUE = re.compile(r"argument (\S+): expected one argument")
COMMAND_LINE = "command line"
ABSENT = re.compile(r"No module named '(\w+)|import of (\w+) halted")
INTERPOLATION = re.compile(r"Interpolation key '([^']+)' not found\s+full_key: (\S+)")


@dataclass
class Fault:
    """What the parser's page says."""

    kind: str = ""
    key: str = ""  # dotted, without `init_args`
    owners: list[str] = field(default_factory=list)  # the classes the key lies in, the innermost last; none: the parser
    detail: str = ""
    types: list[str] = field(default_factory=list)


def explain(error: BaseException, sources: Sources, parser: ArgumentParser, roots: dict[str, type]) -> UsageError:
    """The parser's error as one line. `roots`: the classes that `data`, `trainer`, ... are, by key."""
    message = str(error)
    if match := INTERPOLATION.search(message):
        place = sources.locate(match[2])
        remedy = f"write ${match[1]} for the variable" if match[1] in os.environ else "correct the name"
        return UsageError(f"${{{match[1]}}} names no key", place or match[2], remedy)
    if match := NO_VALUE.search(message):
        return UsageError(f"{match[1]} has no value", COMMAND_LINE, "give one")
    if match := FLAG.search(message):
        return _unknown_flag(match[1], parser)
    fault = _read(message)
    if (match := ABSENT.search(message)) and (package := match[1] or match[2]) in EXTRAS:
        spelt, where = _where(fault.key, message, sources)
        return UsageError(f"{spelt} needs the package {package}", where, install(package))
    if fault.kind == "unknown":
        return _unknown_key(fault, message, sources, parser)
    if fault.kind == "missing":
        return _missing(fault, sources)
    if fault.kind == "class":
        return _no_class(fault, message, sources, roots)
    if fault.kind == "type":
        return _wrong_type(fault, message, sources)
    return UsageError(_short(message, 300), sources.recipe, "correct the recipe or the command line")


def check_top_keys(sources: Sources, parser: ArgumentParser) -> None:
    """Refuse an unknown outermost key whose value is empty, which the parser lets pass."""
    valid = {key.split(".")[0] for key in _keys(parser)}
    for place in sources.top_keys():
        if (root := place.key.split(".")[0]) not in valid:
            raise UsageError(f"unknown key {place.key}", place, nearest(root, valid))


def raised_by_a_part(error: BaseException) -> BaseException:
    """What a part's constructor raised for the user, out of the errors the parser wraps it in; else the error as it is.

    That is our own error, or a package that is not installed.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, VocolabError):
            return seen
        if isinstance(seen, ModuleNotFoundError):
            return UsageError(str(seen), seen.name or "", "install it, or leave out the part that needs it")
        seen = seen.__cause__ or seen.__context__
    return error


def nearest(word: str, words: Iterable[str], prefix: str = "") -> str:
    """A remedy naming the closest of `words`, or all of them where there are few and none is close."""
    words = sorted(set(words))
    close = [w for w in words if w.lower().startswith(word.lower())] or difflib.get_close_matches(word, words, 1)
    if close:
        return f"did you mean {prefix}{close[0]}?"
    return f"choose from {', '.join(words)}" if 0 < len(words) <= 12 else "correct the name"


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # marked as absent
        return False


def _read(message: str) -> Fault:
    """Follow the page down to its first complaint."""
    fault = Fault()
    no_class: Fault | None = None  # of a class that is there: the slot may take another type too, and say more of it
    keys: list[str] = []
    for line in message.splitlines():
        text = line.strip().removeprefix("- ")
        while match := KEY.match(text) or CALLABLE.match(text):
            text = text[match.end() :]
            if match.re is CALLABLE:
                fault.owners += CALLED.findall(message)[:1]
            elif keys[-1:] != [match[1]]:  # some complaints name their key twice
                keys.append(match[1])
        fault.key = ".".join(part for key in keys for part in without_init_args(key))
        if match := OWNER.search(text):
            fault.owners.append(match[1])
        elif match := UNKNOWN.match(text):
            fault.kind, fault.detail = "unknown", match["key"]
            fault.key = match["group"] or fault.key
            return fault
        elif match := MISSING.match(text):
            fault.kind, fault.detail = "missing", match[1]
            return fault
        elif (match := NO_CLASS.match(text)) and not fault.types:
            name = match[1] or match[2] or _pop(fault.owners)
            no_class = Fault("class", fault.key, [*fault.owners], name)
            if not match[2]:
                return no_class
        elif no_class and NULL.match(text):
            return no_class
        elif match := TYPE.match(text):
            fault.kind, fault.detail = "type", fault.detail or match[2] or ""
            fault.types.append(_type_name(match[1]))
            if match[2] is not None:
                return fault
        elif fault.kind == "type" and (match := GIVEN.match(text)):
            fault.detail = match[1]
            return fault
    return no_class or fault


def _pop(names: list[str]) -> str:
    return names.pop() if names else ""


def _unknown_flag(rest: str, parser: ArgumentParser) -> UsageError:
    flag = rest.split()[0].split("=")[0]
    if not flag.startswith("-"):
        return UsageError(f"unknown argument {flag!r}", COMMAND_LINE, "keys are given as --KEY VALUE")
    key = flag.lstrip("-").rstrip("+")
    return UsageError(f"unknown key {key}", COMMAND_LINE, nearest(key, _keys(parser), "--"))


def _unknown_key(fault: Fault, message: str, sources: Sources, parser: ArgumentParser) -> UsageError:
    if fault.owners:
        valid, unknown = _parameters(fault.owners[-1]), fault.detail.split(".")[0]
    else:
        prefix = f"{fault.key}." if fault.key else ""
        valid = [key[len(prefix) :].split(".")[0] for key in _keys(parser) if key.startswith(prefix)]
        unknown = next(part for part in fault.detail.split(".") if part not in valid)
    key = f"{fault.key}.{unknown}".lstrip(".")
    spelt, where = _where(key, message, sources)
    dashes = "--" if where == COMMAND_LINE else ""
    return UsageError(f"unknown key {spelt}", where, nearest(unknown, valid, dashes + spelt[: -len(unknown)]))


def _missing(fault: Fault, sources: Sources) -> UsageError:
    if not sources.recipes:
        return UsageError("no recipe", COMMAND_LINE, "give one with -c, as -c recipes/quickstart.yaml")
    place = sources.locate(fault.key) if fault.key else None
    parent = f"{place.key}.init_args" if place and fault.owners else fault.key
    return UsageError(f"key {f'{parent}.{fault.detail}'.lstrip('.')} is missing", place or sources.recipe, "add it")


def _no_class(fault: Fault, message: str, sources: Sources, roots: dict[str, type]) -> UsageError:
    spelt, where = _where(fault.key, message, sources)
    if where != COMMAND_LINE and (place := sources.locate(f"{fault.key}.class_path")):
        where = str(place)
    name = fault.detail
    bases = _bases(fault, roots)
    kind = " or ".join(base.__name__ for base in bases) or "class"
    known = {cls.__name__ for base in bases for cls in _subclasses(base)}
    return UsageError(f"no such {kind} {name!r} for {spelt}", where, nearest(name.rpartition(".")[2], known))


def _wrong_type(fault: Fault, message: str, sources: Sources) -> UsageError:
    spelt, where = _where(fault.key, message, sources, fault.detail)
    expected = " or ".join(dict.fromkeys(fault.types))
    return UsageError(f"{spelt} is {_short(fault.detail, 60)!r}", where, f"expected {expected}")


def _where(key: str, message: str, sources: Sources, value: str | None = None) -> tuple[str, str]:
    """How a key is spelt, and where."""
    for flag, given in sources.flags.items():
        if without_init_args(flag) == without_init_args(key) and (value is None or _equal(value, given)):
            return flag, COMMAND_LINE
    if "NestedArg(" in message:
        return key, COMMAND_LINE
    place = sources.locate(key)
    return (place.key, str(place)) if place else (key, sources.recipe)


def _equal(value: str, given: str) -> bool:
    """Whether the parser's wording of a value can be what was given: it writes 1.5e0 as 1.5."""
    try:
        return value == given or float(value) == float(given)
    except ValueError:
        return False


def _keys(parser: ArgumentParser) -> list[str]:
    internal = ("help", "print_config", "==SUPPRESS==")
    return [a.dest for a in parser._actions if a.dest.split(".")[-1] not in internal]


def _import(path: str) -> typing.Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None


def _parameters(owner: str) -> list[str]:
    cls = _import(owner)
    return [] if cls is None else list(inspect.signature(cls).parameters)


def _bases(fault: Fault, roots: dict[str, type]) -> list[type]:
    """The classes the slot of this fault is typed with."""
    parts = fault.key.split(".")
    if len(parts) == 1 and parts[0] in roots:
        return [roots[parts[0]]]
    owner = _import(fault.owners[-1]) if fault.owners else roots.get(parts[0])
    try:
        return list(dict.fromkeys(_classes(typing.get_type_hints(owner.__init__)[parts[-1]])))
    except (AttributeError, KeyError, NameError, TypeError):
        return []


def _classes(hint: typing.Any) -> list[type]:
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is Callable:
        return _classes(inner[-1])  # what it returns
    if inner:
        return [cls for part in inner for cls in _classes(part)]
    return [hint] if inspect.isclass(hint) and hint.__module__ not in ("builtins", "typing", "pathlib") else []


def _subclasses(base: type) -> list[type]:
    below = [cls for child in base.__subclasses__() for cls in _subclasses(child)]
    return below if inspect.isabstract(base) or base.__name__.startswith("_") else [base, *below]


def _type_name(text: str) -> str:
    if match := re.match(r"<class '(?:\w+\.)*(\w+)'>", text):
        return "null" if match[1] == "NoneType" else match[1]
    if match := re.search(r"Literal\[(.*)\]", text):
        return "one of " + match[1].replace("'", "")
    return text.removeprefix("typing.")


def _short(text: str, limit: int) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
