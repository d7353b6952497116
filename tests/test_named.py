"""Every path, recipe key, flag and command that an error, a docstring or a page names is there."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import notebooks
from vocolab.cli import COMMANDS, TRAINER
from vocolab.recipe import load_recipe
from vocolab.recipe.recipe import ROOTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vocolab"
FOLDERS = "configs|recipes|notebooks|docs|benchmarks|tests|src"
PATH = re.compile(rf"(?<![\w/.~-])(?:\.\./)*(?:{FOLDERS})/[\w./*{{}},-]*\w\}}?")
MODULE = re.compile(r"(?<![\w./])(?:\w+/)*\w+\.py\b")
KEY = re.compile(r"(?<![\w./])(?:--)?((?:data|model|trainer|checkpoint)(?:\.[A-Za-z]\w*)+)(?![\w(/])")
SETTING = re.compile(r"\bset ([a-z]+_[a-z_]+)")  # `set text_weight to 0`
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*(?![\w.-]*\.\w)")
COMMAND = re.compile(r"(?:`|^|\brun )vocolab ([a-z]+)", re.M)
TARGET = re.compile(r"(?:`|^)make ([a-z-]+)(?=`|$|  )", re.M)
PLACEHOLDERS = ("NAME", "KIND", "recipes/x.yaml", "/mine.yaml")  # a path with one of these is the reader's to replace
# Examples; "each `test_all.py`"; what the pages that compare call the programs of others.
NO_MODULES = re.compile(r"NAME|FOLDER|\bmy\w+\.py|^test_all\.py$|^(?:bin/)?(?:infer|train|trainer)\.py$")
NO_KEYS = {
    "data.feature_dim",  # a property, from which the width of a vocoder follows
    "model.safetensors",  # a file of the Hugging Face hub
    "model.onnx",  # a file of the package swift_f0
    "model.bin",  # a file of a folder in faster-whisper's layout
    "model.encoder",  # the names of Whisper's weights begin with it
}
NO_FLAGS = {
    "--no-deps",  # of pip
    "--part",  # of pytest in this project, see tests/conftest.py
    "--yaml",  # of other VALL-E programs
    "--page",  # of a benchmark
    "--speech",  # of a benchmark
    "--logdir",  # of tensorboard
    "--flag",  # any
}


def strings(file: Path) -> Iterator[str]:
    """The strings of a module, docstrings and comments included. What an f-string computes is `…`."""
    source = file.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    yield from re.findall(r"(?:^|\s)# .*", source)


def ours(page: Path) -> str:
    """A page without the mistakes that it shows; one that compares without the column of the others."""
    text = re.sub(r"```console\n.*?```", "", page.read_text(), flags=re.S)
    compares = page.name.startswith("from-") or page.name == "knn-vc.md"
    return re.sub(r"^\|.*?(?<!\\)\|", "", text, flags=re.M) if compares else text


@cache
def texts() -> list[tuple[str, str]]:
    """All that a user is told, with the file that tells it."""
    modules = [(file, text) for file in (ROOT / "src").rglob("*.py") for text in strings(file)]
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    headers = [*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "configs").rglob("*.yaml")]
    told = [(file, ours(file)) for file in pages]
    told += [(file, cell["source"]) for file in notebooks.files() for cell in notebooks.cells(file)]
    told += [(file, "\n".join(re.findall(r"#.*", file.read_text()))) for file in headers]
    return [(str(file.relative_to(ROOT)), text) for file, text in modules + told]


def named(pattern: re.Pattern[str]) -> dict[str, set[str]]:
    """What a pattern finds in the texts, and the files it stands in."""
    found: dict[str, set[str]] = {}
    for file, text in texts():
        for match in pattern.finditer(text):
            found.setdefault(match[match.lastindex or 0], set()).add(file)
    return found


def alternatives(path: str) -> list[str]:
    """`a/{b,c}.yaml` as its paths."""
    match = re.search(r"\{([^}]*)\}", path)
    return [path.replace(match[0], word) for word in match[1].split(",")] if match else [path]


def exists(path: str) -> bool:
    """Whether a path that may hold `{a,b}` and `*` leads to files. `../` leads from a recipe to the root."""
    return all(any(ROOT.glob(one.removeprefix("../"))) for one in alternatives(path))


def classes_of(hint: Any) -> list[type]:
    """The classes that a type hint names: those of a union, a list, or what a callable makes."""
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return [hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Callable and arguments:
        arguments = arguments[1:]
    return [found for argument in arguments for found in classes_of(argument)]


def with_subclasses(kind: type) -> list[type]:
    """A class and what a recipe can put in its place: its subclasses, those of tests left out."""
    found = [kind, *(more for below in kind.__subclasses__() for more in with_subclasses(below))]
    return [cls for cls in found if cls.__module__.split(".")[0] in ("vocolab", "torch", "lightning")]


def arguments(cls: type) -> dict[str, list[type]]:
    """What a class is built with, its base classes' arguments included where it hands them on."""
    found: dict[str, list[type]] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            parameters = inspect.signature(base.__init__).parameters.values()
            ours = base.__module__.startswith("vocolab.")  # others' hints do not all evaluate
            hints = typing.get_type_hints(base.__init__) if ours else {}
            for parameter in parameters:
                found.setdefault(parameter.name, classes_of(hints.get(parameter.name)))
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                break
    return found


def known(key: str) -> bool:
    """Whether a key of a recipe leads through arguments of our classes: `data.corpus.root`, with `init_args` or not."""
    first, *names = [name for name in key.split(".") if name not in ("init_args", "class_path")]
    kinds = [cls for cls in with_subclasses(ROOTS[first]) if first != "model" or cls.__module__.startswith("vocolab.")]
    for name in names:
        slots = [found for cls in kinds for found in [arguments(cls).get(name)] if found is not None]
        if not slots:
            return False
        kinds = [cls for kind in {kind for slot in slots for kind in slot} for cls in with_subclasses(kind)]
    return True


@cache
def settings() -> set[str]:
    """The names of all arguments that a recipe reaches."""
    kinds, seen, found = list(ROOTS.values()), set(), set()
    while kinds:
        for cls in set(with_subclasses(kinds.pop())) - seen:
            seen.add(cls)
            for name, classes in arguments(cls).items():
                found.add(name)
                kinds += classes
    return found


@cache
def flags() -> set[str]:
    """The flags of all commands."""
    parser = argparse.ArgumentParser()
    found = {"--version", "--verbose", "--import"}
    for path, _ in COMMANDS.values():
        parser = argparse.ArgumentParser()
        importlib.import_module(path).add_arguments(parser)
        found |= set(parser._option_string_actions)
    recipe = load_recipe(ROOT / "recipes" / "quickstart.yaml")
    return found | {f"--{word}" for word in ROOTS} | set(recipe.parser._option_string_actions)


def test_paths_that_are_named_are_there():
    paths = named(PATH)
    absent = {path: where for path, where in paths.items() if not any(x in path for x in PLACEHOLDERS)}
    assert len(paths) > 50 and {path: where for path, where in absent.items() if not exists(path)} == {}


def test_modules_that_are_named_are_there():
    """From the root, from the package, or from the file that names them or a folder above it in the package."""
    modules = named(MODULE)
    absent = []
    for module, files in modules.items():
        for file in files:
            places = [ROOT, PACKAGE, *(place for place in (ROOT / file).parents if place.is_relative_to(PACKAGE))]
            if not NO_MODULES.search(module) and not any((place / module).is_file() for place in places):
                absent.append((module, file))
    assert len(modules) > 20 and absent == []


def test_keys_that_are_named_are_those_of_a_recipe():
    keys = named(KEY)
    assert len(keys) > 50 and {key: keys[key] for key in keys.keys() - NO_KEYS if not known(key)} == {}
    assert len(named(SETTING)) > 2 and named(SETTING).keys() - settings() == set()


def test_flags_that_are_named_are_those_of_a_command():
    found = named(FLAG)
    assert len(found) > 50 and {flag: found[flag] for flag in found.keys() - NO_FLAGS - flags()} == {}


def test_commands_that_are_named_are_there():
    commands, targets = named(COMMAND), named(TARGET)
    makefile = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert len(commands) > 8 and {name: commands[name] for name in commands.keys() - {*TRAINER, *COMMANDS}} == {}
    assert len(targets) > 4 and {name: targets[name] for name in targets.keys() - {*makefile}} == {}


@pytest.mark.parametrize(
    "pattern, text, name",
    [
        (PATH, "name one, as ../configs/codec/encodec.yaml", "../configs/codec/encodec.yaml"),
        (KEY, "set --data.corpus.folder to one", "data.corpus.folder"),
        (KEY, "lower data.batches.init_args.tokns", "data.batches.init_args.tokns"),
        (KEY, "--model.schedule.T_maxx 3", "model.schedule.T_maxx"),
        (SETTING, "set text_weigth to 0", "text_weigth"),
        (KEY, "model.vocoder.backbone", "model.vocoder.backbone"),
        (FLAG, "give --overwrit.", "--overwrit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_there_is_noticed(pattern, text, name):
    found = pattern.search(text)
    assert found is not None and found[found.lastindex or 0] == name
    there = {PATH: exists, KEY: known, SETTING: settings().__contains__, FLAG: flags().__contains__}
    assert not there[pattern](name)
