"""The YAML files a command line names: checked before they are parsed, and searched for the line a key stands in.

What is refused here is what the parser would silently accept (a key twice, `trainer: x.yaml` beside
`trainer.max_steps: 1`, which drops x.yaml) or would report without naming the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from vocolab import shipped
from vocolab.errors import UsageError
from vocolab.files import local_path
from vocolab.recipe.numbers import ints
from vocolab.recipe.short import first_argument, is_short, written_out
from vocolab.shipped import SUFFIXES

PARSER_MODE = "omegaconf+"
COMMAND_LINE = Path("command line")  # stands for the file where a value was given by a flag
SPEC = ("class_path", "init_args", "dict_kwargs")  # the keys of a slot's value


@dataclass
class Place:
    """Where a key was found."""

    file: Path
    line: int
    key: str  # spelt as the files spell it

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def without_init_args(key: str) -> list[str]:
    """`model.init_args.vocoder` -> [model, vocoder]: both spellings of a key, as far as they name the same thing."""
    return [part for part in key.split(".") if part not in ("init_args", "")]


@dataclass
class Sources:
    """The recipes (`-c FILE`) and the slot files (`--KEY FILE`) of a command line, and its other flags."""

    arguments: list[str]  # the command line, its files in full where they are the package's
    recipes: list[Path] = field(default_factory=list)
    given: list[tuple[str, str]] = field(default_factory=list)  # the flags without dashes, in order: (key, value)
    modules: list[str] = field(default_factory=list)  # of --import, which may be repeated

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Sources:
        """Read the command line and check its files. Raises `UsageError` naming the file and the line."""
        found = cls([_found(argument) for argument in arguments])
        for flag, value in _pairs(found.arguments):
            if flag in ("-c", "--config"):
                found.recipes.append(Path(value) if "://" in value else local_path(value))
            elif flag == "--import":
                found.modules.append(value)
            else:
                found.given.append((flag.lstrip("-"), value))
        for recipe in found.recipes:
            if "://" not in str(recipe):
                _check_recipe(recipe)
        for key, path in found.slots:
            _check_slot(path, f"--{key}", shipped.suggestion(path))
        for _, value in found.flags:
            if value.startswith(("{", "[")):
                _check_node(compose_value(value), COMMAND_LINE)
        return found

    @property
    def slots(self) -> list[tuple[str, Path]]:
        """The flags whose value is a file."""
        return [(key.rstrip("+"), local_path(value)) for key, value in self.given if value.endswith(SUFFIXES)]

    @property
    def flags(self) -> list[tuple[str, str]]:
        """The other flags."""
        return [(key.rstrip("+"), value) for key, value in self.given if not value.endswith(SUFFIXES)]

    @property
    def recipe(self) -> str:
        """What to call the recipe as a whole."""
        return ", ".join(str(path) for path in self.recipes) or "command line"

    def top_keys(self) -> Iterator[Place]:
        """The outermost keys of the recipes."""
        for path in self.recipes:
            if path.is_file():
                for key, _ in getattr(compose(path), "value", []):
                    yield Place(path, key.start_mark.line + 1, str(key.value))

    def imports(self) -> Iterator[tuple[str, str, list[Path]]]:
        """The modules that the recipes and the command line name to be imported: each with the place that names it, and
        the folder of the recipe.
        """
        for path in self.recipes:
            node = compose(path) if path.is_file() else None
            for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
                if key.value == "import":
                    for name in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                        if name.tag != "tag:yaml.org,2002:null":
                            yield str(name.value), f"{path}:{name.start_mark.line + 1}", [path.parent]
        yield from ((name, "--import", []) for name in self.modules)

    def locate_in_slots(self, key: str) -> Place | None:
        """The last file given by a flag that sets `key`."""
        wanted = without_init_args(key)
        for slot, path in reversed(self.slots):
            prefix = without_init_args(slot)
            if wanted[: len(prefix)] == prefix:
                if place := _find(compose(path), path, wanted[len(prefix) :], prefix):
                    return place
        return None

    def locate(self, key: str) -> Place | None:
        """The last place that sets `key` (with or without `init_args`), slot files included."""
        if place := self.locate_in_slots(key):
            return place
        wanted = without_init_args(key)
        for path in reversed(self.recipes):
            if path.is_file() and (place := _find(compose(path), path, wanted, [])):
                return place
        return None


def load_yaml(text: str) -> Any:
    """What the parser reads values and files with; a file in its own folder. Names of packaged files become paths, and
    callbacks in short are written out.
    """
    return ints(_packaged(written_out(get_loader("yaml")(text))))


# The parser knows `omegaconf+` by its name: what that adds to YAML, `${...}` over the composed recipe, stays.
set_loader(PARSER_MODE, load_yaml, (yaml.YAMLError,))


def _packaged(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _packaged(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_packaged(item) for item in value]
    return _found(value) if isinstance(value, str) else value


def _found(argument: str) -> str:
    """A value, or `--KEY=VALUE`: the path of the packaged file that it names, where there is no such file here."""
    flag, equals, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    if not value.endswith(SUFFIXES) or Path(value).exists():
        return argument
    path = shipped.find(value)
    return f"{flag}{equals}{path}" if path.is_file() else argument


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(flag, value) of `--flag value`, `--flag=value`, `-c value`; the value is empty where there is none."""
    for position, argument in enumerate(arguments):
        if not argument.startswith("-") or argument == "-":
            continue
        flag, equals, value = argument.partition("=")
        if not equals and position + 1 < len(arguments) and not arguments[position + 1].startswith("--"):
            value = arguments[position + 1]
        yield flag, value


def compose(path: Path) -> yaml.Node | None:
    """The file as nodes, which know their lines."""
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        raise UsageError(f"not YAML ({error.problem or error})", where, "correct the line") from error
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read ({getattr(error, 'strerror', None) or error})", path, "check the file"
        ) from error


def compose_value(text: str) -> yaml.Node | None:
    """The value of a flag as nodes; none where it is not YAML, which the parser says."""
    try:
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return None


def place_of(path: Path, node: yaml.Node) -> str:
    """`FILE:LINE`, or the command line."""
    return str(path) if path == COMMAND_LINE else f"{path}:{node.start_mark.line + 1}"


def _check_recipe(path: Path) -> None:
    if not path.is_file():
        raise UsageError("no such recipe", path, shipped.suggestion(path))
    node = compose(path)
    if not isinstance(node, yaml.MappingNode):
        raise UsageError("not a recipe (no keys)", path, "a recipe has the keys data, model and trainer")
    if any(key.value == "class_path" for key, _ in node.value):
        raise UsageError("not a recipe but the value of one slot", path, "name it in a recipe, or as --KEY FILE")
    _check_node(node, path)


def _check_slot(path: Path, where: str, remedy: str) -> None:
    if not path.is_file():
        raise UsageError(f"no such file {path}", where, remedy)
    _check_node(compose(path), path)


def _check_node(node: yaml.Node | None, path: Path) -> None:
    """Refuse doubled keys here and in the files this one names, and names of files that are not there."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_node(item, path)
    elif isinstance(node, yaml.MappingNode):
        _check_keys([key for key, _ in node.value], path)
        _check_spec(node, path)
        _check_short(node, path)
        for _, value in node.value:
            _check_node(value, path)
    elif node is not None and (other := named_file(node, path)) is not None:
        _check_slot(other, place_of(path, node), shipped.suggestion(node.value, path.parent))


def _check_keys(keys: list[yaml.Node], path: Path) -> None:
    seen: list[str] = []
    for key in keys:
        where = place_of(path, key)
        if key.value in seen:
            raise UsageError(f"key {key.value} stands twice", where, "keep one")
        for other in seen:
            longer, shorter = sorted((key.value, other), key=len, reverse=True)
            if longer.startswith(shorter + "."):
                raise UsageError(
                    f"{longer} beside {shorter}",
                    where,
                    f"one would drop the other: write it inside {shorter}:, or as --{longer}",
                )
        seen.append(key.value)


def _check_spec(node: yaml.MappingNode, path: Path) -> None:
    """Refuse what stands beside `class_path` or `init_args`, and `init_args` that are no mapping. The parser complains
    of the base class instead.
    """
    values = {key.value: value for key, value in node.value}
    if "class_path" not in values and "init_args" not in values:
        return
    for key, value in node.value:
        name = str(key.value)
        if name.split(".")[0].rstrip("+") not in SPEC:
            beside = "class_path" if "class_path" in values else "init_args"
            close = difflib.get_close_matches(name, SPEC[:2], 1, 0.8)
            remedy = f"did you mean {close[0]}?" if close and close[0] not in values else "write it under init_args"
            raise UsageError(f"unknown key {name} beside {beside}", place_of(path, key), remedy)
        if name == "init_args" and (isinstance(value, yaml.SequenceNode) or _is_scalar(value)):
            what = f"init_args is {'a list' if isinstance(value, yaml.SequenceNode) else repr(value.value or 'null')}"
            raise UsageError(what, place_of(path, key), "write the arguments as NAME: VALUE, or leave it out")


def _check_short(node: yaml.MappingNode, path: Path) -> None:
    """Refuse what is given to a callback in short that takes nothing."""
    for key, value in node.value:
        if is_short(key.value) and not first_argument(key.value) and value.tag != "tag:yaml.org,2002:null":
            raise UsageError(f"{key.value} takes no arguments", place_of(path, key), "write its name alone")


def _is_scalar(node: yaml.Node) -> bool:
    """Whether a value is null, a number or a text: neither a file nor a reference to another key."""
    if not isinstance(node, yaml.ScalarNode):
        return False
    return "${" not in node.value and not node.value.endswith(SUFFIXES)


def named_file(node: yaml.Node | None, path: Path) -> Path | None:
    """The file a scalar names, relative to the file it stands in, or in the package."""
    if isinstance(node, yaml.ScalarNode) and node.value.endswith(SUFFIXES) and "${" not in node.value:
        return shipped.find(node.value, path.parent)
    return None


def _find(node: yaml.Node | None, path: Path, wanted: list[str], spelt: list[str]) -> Place | None:
    """Follow `wanted` through mappings, lists and named files."""
    if node is None or not wanted:
        return None
    if (other := named_file(node, path)) is not None:
        return _find(compose(other), other, wanted, spelt) if other.is_file() else None
    if isinstance(node, yaml.SequenceNode):
        return next((place for item in node.value if (place := _find(item, path, wanted, spelt))), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if is_short(key.value) and (place := _find(value, path, wanted, [*spelt, key.value])):
            return place
        parts = without_init_args(str(key.value))
        if wanted[: len(parts)] != parts:
            continue
        here = [*spelt, str(key.value)]
        if len(parts) == len(wanted):
            return Place(path, key.start_mark.line + 1, ".".join(here))
        if place := _find(value, path, wanted[len(parts) :], here):
            return place
    return None
