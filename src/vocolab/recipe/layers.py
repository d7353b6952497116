"""What a later recipe or flag replaces of an earlier one, where that is easily overlooked: a list of callbacks, and a
class whose arguments the new class keeps.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from vocolab.files import local_path
from vocolab.recipe.sources import (
    COMMAND_LINE,
    Sources,
    compose,
    compose_value,
    named_file,
    place_of,
    without_init_args,
)
from vocolab.shipped import SUFFIXES

CALLBACKS = ("trainer", "callbacks")
Key = tuple[str, ...]  # without `init_args`


@dataclass
class Setting:
    """One key that a recipe, a slot file or a flag sets."""

    key: Key
    place: str
    text: str  # of a scalar


def settings(sources: Sources) -> Iterator[Setting]:
    """All settings in the order in which they count: the recipes, then the flags."""
    for path in sources.recipes:
        if path.is_file():
            yield from _within(compose(path), path, ())
    for flag, value in sources.given:
        key = tuple(without_init_args(flag))
        path = local_path(value) if value.endswith(SUFFIXES) else COMMAND_LINE
        node = compose_value(value) if path == COMMAND_LINE else compose(path)
        named = path == COMMAND_LINE and isinstance(node, yaml.ScalarNode)
        yield Setting(key, str(COMMAND_LINE), value if named else "")
        yield from _within(node, path, key)


def replaced_callbacks(sources: Sources) -> list[str]:
    """A line for each list of callbacks that takes the place of an earlier one."""
    places = [setting.place for setting in settings(sources) if setting.key == CALLBACKS]
    lines = []
    for old, new in zip(places, places[1:], strict=False):
        how = "--trainer.callbacks+=" if new == str(COMMAND_LINE) else "`callbacks+:`"
        lines.append(f"{new}: these callbacks replace those of {old}; write {how} to add to them")
    return lines


def kept_arguments(sources: Sources, config: Namespace) -> list[str]:
    """A line for each class that takes the place of an earlier one and keeps arguments given to that one."""
    classes: dict[Key, str] = {}
    swaps: dict[Key, tuple[str, str, list[str]]] = {}  # of a slot: place, the class replaced, arguments not set since
    arguments: dict[Key, list[str]] = {}  # of a slot: those set so far
    for setting in settings(sources):
        *parents, name = setting.key
        slot = tuple(parents)
        if name == "class_path" or (setting.key in classes and setting.text):  # `corpus: Folder` names a class too
            slot = slot if name == "class_path" else setting.key
            new = setting.text.rpartition(".")[2]
            if (old := classes.get(slot, new)) != new:
                swaps[slot] = setting.place, old, list(arguments.get(slot, []))
            classes[slot] = new
        elif slot:
            arguments.setdefault(slot, []).append(name)
            if slot in swaps:
                swaps[slot] = *swaps[slot][:2], [other for other in swaps[slot][2] if other != name]
    found = []
    for slot, (place, old, names) in swaps.items():
        if kept := _kept(config, slot, names):
            new = f"{'.'.join(slot)}: {classes[slot]}"
            found.append(f"{place}: {new} keeps {', '.join(kept)} of {old}, which it replaces; set it to change it")
    return found


def _within(node: yaml.Node | None, path: Path, key: Key) -> Iterator[Setting]:
    if (other := named_file(node, path)) is not None:
        yield from _within(compose(other), other, key)
    elif isinstance(node, yaml.MappingNode):  # the class first: the arguments beside it are its own
        for name, value in sorted(node.value, key=lambda pair: pair[0].value != "class_path"):
            inner = (*key, *without_init_args(str(name.value)))
            scalar = isinstance(value, yaml.ScalarNode) and named_file(value, path) is None
            if inner != key:
                yield Setting(inner, place_of(path, name), value.value if scalar else "")
            yield from _within(value, path, inner)


def _kept(config: Namespace, slot: Key, names: list[str]) -> list[str]:
    """`NAME: VALUE` of those arguments that the slot's class has, and whose value is not its default."""
    value: Any = config
    for part in slot:
        value = value.get("init_args", value).get(part) if isinstance(value, Namespace) else None
    if not isinstance(value, Namespace) or not isinstance(value.get("init_args"), Namespace):
        return []
    module, _, name = value.class_path.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    given = vars(value.init_args)
    return [
        name if isinstance(given[name], Namespace) else f"{name}: {given[name]}"
        for name in dict.fromkeys(names)
        if name in given and name in parameters and _plain(given[name]) != _plain(parameters[name].default)
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
