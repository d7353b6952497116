"""Nulls in recipes where a part takes none: the parser lets them pass, and the part's constructor would fail."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

from vocolab.errors import UsageError
from vocolab.recipe.slots import slots
from vocolab.recipe.sources import Sources


def check_nulls(config: Namespace, roots: Mapping[str, type], sources: Sources) -> None:
    """Raise `UsageError` for a null that a recipe or a flag gives to a parameter of a plain type."""
    for arguments, cls, slot in slots(config, roots):
        plain = _plain_parameters(cls)
        for name, value in vars(arguments).items():
            if value is not None or name not in plain:
                continue
            key = f"{slot}.{name}"
            given = [flag for flag, _ in sources.flags if _same(flag, key)]
            if given or (place := sources.locate(key)):
                where = "command line" if given else str(place)
                raise UsageError(f"{key} is null", where, f"expected {plain[name].__name__}")


def _same(flag: str, key: str) -> bool:
    return flag.replace(".init_args", "") == key.replace(".init_args", "")


def _plain_parameters(cls: Any) -> dict[str, type]:
    """The parameters that are annotated with a single class and whose default is not None."""
    try:
        parameters = inspect.signature(cls).parameters
        hints = typing.get_type_hints(cls.__init__)
    except (AttributeError, NameError, TypeError, ValueError):
        return {}
    found = {name: hint for name, hint in hints.items() if inspect.isclass(hint) and name in parameters}
    return {name: hint for name, hint in found.items() if hint is not object and parameters[name].default is not None}
