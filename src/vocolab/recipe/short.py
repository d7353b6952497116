"""A callback in short: `Evaluate: [stoi, cer]` for `{class_path: Evaluate, init_args: {metrics: [stoi, cer]}}`."""

from __future__ import annotations

import inspect
from typing import Any

from vocolab import callbacks


def is_short(name: object) -> bool:
    """Whether a key is the name of a callback of ours."""
    return name in callbacks.__all__


def written_out(value: Any) -> Any:
    """A document of YAML in which each mapping of one callback's name to what it is given is a class with arguments. A
    mapping gives arguments by name; anything else is the first of them.
    """
    if isinstance(value, list):
        return [written_out(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and is_short(name := next(iter(value))):
        return {"class_path": name} | _arguments(name, value[name])
    return {key: written_out(item) for key, item in value.items()}


def _arguments(name: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, dict):
        return {"init_args": given}
    first = first_argument(name)
    return {"init_args": {first: given}} if first else {}


def first_argument(name: str) -> str | None:
    """Of a callback of ours; None where it takes none."""
    return next(iter(inspect.signature(getattr(callbacks, name)).parameters), None)
