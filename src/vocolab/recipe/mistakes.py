"""Configuration mistakes in one line: the key, the file and line it stands in, the nearest valid key.

The parser explains itself in a page (`vocolab.recipe.page`). Of a cause that has no wording here, the parser's own is
passed on, shortened.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterable

from jsonargparse import ArgumentParser

from vocolab.errors import UsageError, VocolabError
from vocolab.extras import EXTRAS, install
from vocolab.recipe.page import Complaint, cause, page_of
from vocolab.recipe.sources import Sources, without_init_args

FLAG = re.compile(r"unrecognized arguments: (.*)$", re.DOTALL)
NO_VALUE = re.compile(r"argument (\S+): expected one argument")
COMMAND_LINE = "command line"
ABSENT = re.compile(r"No module named '(\w+)|import of (\w+) halted")
INTERPOLATION = re.compile(r"Interpolation key '([^']+)' not found\s+full_key: (\S+)")


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
    message = page_of(error)
    fault = cause(message)
    if fault is None:
        return UsageError(_short(message, 300), sources.recipe, "correct the recipe or the command line")
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
    return _in_the_parsers_words(fault, message, sources)


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


def first_sentence(text: str) -> str:
    """The first sentence of a library's explanation, and the values that it lists after it."""
    first, *others = re.split(r"(?<=[.!]) +(?=[A-Z])", " ".join(text.split()))
    listed = [other for other in others if other.startswith(("Available", "Choose"))]
    return " ".join([first, *listed]).rstrip("!. ")


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # marked as absent
        return False


def _unknown_flag(rest: str, parser: ArgumentParser) -> UsageError:
    flag = rest.split()[0].split("=")[0]
    if not flag.startswith("-"):
        return UsageError(f"unknown argument {flag!r}", COMMAND_LINE, "keys are given as --KEY VALUE")
    key = flag.lstrip("-").rstrip("+")
    return UsageError(f"unknown key {key}", COMMAND_LINE, nearest(key, _keys(parser), "--"))


def _unknown_key(fault: Complaint, message: str, sources: Sources, parser: ArgumentParser) -> UsageError:
    if fault.owners:
        valid, unknown = _parameters(fault.owners[-1]), fault.detail.split(".")[0]
    else:
        prefix = f"{fault.key}." if fault.key else ""
        valid = [key[len(prefix) :].split(".")[0] for key in _keys(parser) if key.startswith(prefix)]
        unknown = next(part for part in fault.detail.split(".") if part not in valid)
    key = f"{fault.key}.{unknown}".lstrip(".")
    spelt, where = _where(key, message, sources)
    dashes = "--" if spelt in dict(sources.flags) else ""
    return UsageError(f"unknown key {spelt}", where, nearest(unknown, valid, dashes + spelt[: -len(unknown)]))


def _missing(fault: Complaint, sources: Sources) -> UsageError:
    if not sources.recipes:
        return UsageError("no recipe", COMMAND_LINE, "give one with -c, as -c recipes/quickstart.yaml")
    place = sources.locate(fault.key) if fault.key else None
    parent = f"{place.key}.init_args" if place and fault.owners else fault.key
    return UsageError(f"key {f'{parent}.{fault.detail}'.lstrip('.')} is missing", place or sources.recipe, "add it")


def _no_class(fault: Complaint, message: str, sources: Sources, roots: dict[str, type]) -> UsageError:
    spelt, where = _where(fault.key, message, sources)
    if where != COMMAND_LINE and (place := sources.locate(f"{fault.key}.class_path")):
        where = str(place)
    name = fault.detail
    bases = _bases(fault, roots)
    kind = " or ".join(base.__name__ for base in bases) or "class"
    known = {cls.__name__ for base in bases for cls in _subclasses(base)}
    return UsageError(f"no such {kind} {name!r} for {spelt}", where, nearest(name.rpartition(".")[2], known))


def _wrong_type(fault: Complaint, message: str, sources: Sources) -> UsageError:
    spelt, where = _where(fault.key, message, sources, fault.value)
    what = f"{spelt} names no class" if fault.value is None else f"{spelt} is {_short(fault.value, 60)!r}"
    return UsageError(what, where, f"expected {_any_of(fault.expected)}")


def _any_of(expected: list[str]) -> str:
    """`int or null`, `list or a class_path (Callback)`."""
    classes = [name.removeprefix("class_path ") for name in expected if name.startswith("class_path ")]
    named = f"a class_path ({' or '.join(dict.fromkeys(classes))})"
    return " or ".join(dict.fromkeys(named if name.startswith("class_path ") else name for name in expected))


def _in_the_parsers_words(fault: Complaint, message: str, sources: Sources) -> UsageError:
    spelt, where = _where(fault.key, message, sources)
    what = _short(fault.detail, 200).rstrip(".")
    return UsageError(f"{spelt}: {what}" if spelt else what, where, "correct it")


def _where(key: str, message: str, sources: Sources, value: str | None = None) -> tuple[str, str]:
    """How a key is spelt, and where. Flags come first, since they override the recipes."""
    wanted = without_init_args(key)
    for flag, given in sources.flags:
        if without_init_args(flag) == wanted and (value is None or _equal(value, given)):
            return flag, COMMAND_LINE
    if place := sources.locate_in_slots(key):
        return place.key, str(place)
    for flag, given in sources.flags:  # the key stands within the value of a flag
        prefix = without_init_args(flag)
        if wanted[: len(prefix)] == prefix and re.search(rf"\b{re.escape(wanted[-1])}\b", given):
            return key, COMMAND_LINE
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


def _bases(fault: Complaint, roots: dict[str, type]) -> list[type]:
    """The classes the slot of this fault is typed with."""
    parts = fault.key.split(".")
    if len(parts) == 1 and parts[0] in roots:
        return [roots[parts[0]]]
    owner: typing.Any = _import(fault.owners[-1]) if fault.owners else roots.get(parts[0])
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
    children: list[type] = base.__subclasses__()
    below = [cls for child in children for cls in _subclasses(child)]
    return below if inspect.isabstract(base) or base.__name__.startswith("_") else [base, *below]


def _short(text: str, limit: int) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
