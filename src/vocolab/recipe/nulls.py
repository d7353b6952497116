"""Nulls in recipes where a part takes none: the parser lets them pass, and the part's constructor would fail."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import Namespace

from vocolab.errors import UsageError
from vocolab.recipe.sources import Sources


def check_nulls(config: Namespace, roots: Mapping[str, type], sources: Sources) -> None:
    """Raise `UsageError` for a null that a recipe or a flag gives to a parameter of a plain type."""
    for root, cls in roots.items():
        for key, expected in _nulls(config.get(root), cls, root):
            given = [flag for flag, _ in sources.flags if _same(flag, key)]
            if given or (place := sources.locate(key)):
                where = "command line" if given else str(place)
                raise UsageError(f"{key} is null", where, f"expected {expected}")


def _same(flag: str, key: str) -> bool:
    return flag.replace(".init_args", "") == key.replace(".init_args", "")


def _nulls(slot: Any, cls: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, name of the type) of each null whose parameter is annotated with a class."""
    if isinstance(slot, list):
        for item in slot:
            yield from _nulls(item, None, key)
    if not isinstance(slot, Namespace):
        return
    if "class_path" in slot:
        module, _, name = slot.class_path.rpartition(".")
        cls, slot, key = getattr(importlib.import_module(module), name), slot.get("init_args"), f"{key}.init_args"
        if slot is None:
            return
    plain = _plain_parameters(cls)
    for name, value in vars(slot).items():
        if value is None and name in plain:
            yield f"{key}.{name}", plain[name].__name__
        else:
            yield from _nulls(value, None, f"{key}.{name}")


def _plain_parameters(cls: Any) -> dict[str, type]:
    """The parameters that are annotated with a single class and whose default is not None."""
    try:
        parameters = inspect.signature(cls).parameters
        hints = typing.get_type_hints(cls.__init__)
    except (AttributeError, NameError, TypeError, ValueError):
        return {}
    found = {name: hint for name, hint in hints.items() if inspect.isclass(hint) and name in parameters}
    return {name: hint for name, hint in found.items() if hint is not object and parameters[name].default is not None}
