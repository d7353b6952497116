"""The slots of a composed recipe, each with the class that its arguments are for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import Namespace


def slots(config: Namespace, roots: Mapping[str, type]) -> Iterator[tuple[Namespace, Any, str]]:
    """(arguments, class, dotted key) of each slot, a slot before those within it. The class is None where a group of
    arguments names none. `roots`: the classes of the outermost keys.
    """
    for root, cls in roots.items():
        yield from _within(config.get(root), cls, root)


def _within(slot: Any, cls: Any, key: str) -> Iterator[tuple[Namespace, Any, str]]:
    if isinstance(slot, list):
        for item in slot:
            yield from _within(item, None, key)
    if not isinstance(slot, Namespace):
        return
    if "class_path" in slot:
        module, _, name = slot.class_path.rpartition(".")
        cls, slot, key = getattr(importlib.import_module(module), name), slot.get("init_args"), f"{key}.init_args"
        if slot is None:
            return
    yield slot, cls, key
    for name, value in list(vars(slot).items()):
        yield from _within(value, None, f"{key}.{name}")
