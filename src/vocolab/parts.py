"""Describe a part (vocoder, encoder, corpus, ...) as the class and arguments that rebuild it.

The convention, held by a test for every part: each constructor argument is kept as an attribute of the same name.
The description is the form recipes use (`class_path`, `init_args`), so a checkpoint and a recipe speak alike.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from vocolab.errors import VocolabError


def describe(part: Any) -> Any:
    """A part as `{"class_path", "init_args"}`, nested parts included; plain values as they are, paths as strings."""
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    if isinstance(part, Path):
        return str(part)
    if isinstance(part, dict):
        return {key: describe(value) for key, value in part.items()}
    if isinstance(part, (list, tuple)) or type(part).__name__ == "ModuleList":
        return [describe(value) for value in part]
    cls = type(part)
    names = [n for n, p in inspect.signature(cls).parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {
        "class_path": f"{cls.__module__}.{cls.__qualname__}",
        "init_args": {name: describe(getattr(part, name)) for name in names},
    }


def build(description: Any, base: type | None = None) -> Any:
    """The part that `describe` described. Only `vocolab`'s classes, and those of modules the caller already imported,
    are built: a checkpoint must not choose what gets imported.
    """
    if isinstance(description, dict) and "class_path" in description:
        module, _, name = description["class_path"].rpartition(".")
        if module.split(".")[0] == "vocolab":
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise VocolabError(f"no such class ({error})", description["class_path"], "update vocolab") from error
        cls = getattr(sys.modules.get(module), name, None)
        # Without a base to hold it to, a class must be one of our own: among all that Python has imported are classes
        # that start processes.
        own = inspect.isclass(cls) and cls.__module__.split(".")[0] == "vocolab"
        if not inspect.isclass(cls) or not (own if base is None else issubclass(cls, base)):
            wanted = f" of type {base.__name__}" if base else ""
            raise VocolabError(f"no such class{wanted}", description["class_path"], "import its module before loading")
        arguments = {key: build(value) for key, value in description.get("init_args", {}).items()}
        try:
            return cls(**arguments)
        except TypeError as error:
            raise VocolabError(
                f"arguments do not fit ({error})", description["class_path"], "update vocolab"
            ) from error
    if isinstance(description, dict):
        return {key: build(value) for key, value in description.items()}
    if isinstance(description, list):
        return [build(value) for value in description]
    return description
