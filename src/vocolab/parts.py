"""Describe a part (vocoder, encoder, corpus, ...) as the class and arguments that rebuild it.

The convention, held by a test for every part: each constructor argument is kept as an attribute of the same name.
The description is the form recipes use (`class_path`, `init_args`), so checkpoints and recipes write a part alike.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vocolab.errors import VocolabError
from vocolab.imports import is_trusted, load_entry_points, package_of

KNOWN = {"vocolab", "torch", *sys.stdlib_module_names}  # packages whose classes need no --import


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
    """The part that `describe` described.

    Only these classes are built: those of `vocolab`, those of the modules that the user or an installed package named
    (`vocolab.imports`), and those of type `base` that are imported already. A checkpoint must not choose what is
    imported. Raises `VocolabError` for any other class, saying what to import.
    """
    if isinstance(description, dict) and "class_path" in description:
        cls = _class(description["class_path"], base)
        arguments = {key: build(value) for key, value in description.get("init_args", {}).items()}
        try:
            return cls(**arguments)
        except TypeError as error:
            remedy = "update vocolab" if package_of(cls.__module__) == "vocolab" else "use the class of the training"
            raise VocolabError(f"arguments do not fit ({error})", description["class_path"], remedy) from error
    if isinstance(description, dict):
        return {key: build(value) for key, value in description.items()}
    if isinstance(description, list):
        return [build(value) for value in description]
    return description


def _class(path: str, base: type | None) -> type:
    module, _, name = path.rpartition(".")
    if package_of(module) == "vocolab":
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise VocolabError(f"no such class ({error})", path, "update vocolab") from error
    else:
        load_entry_points()
    cls = getattr(sys.modules.get(module), name, None)
    # Without a `base` to compare it with, a class must be a trusted one: Python has also imported classes that start
    # processes.
    if inspect.isclass(cls) and (is_trusted(cls) if base is None else issubclass(cls, base)):
        return cls
    check_imported({"class_path": path}, path)
    wanted = f" of type {base.__name__}" if base else ""
    if package_of(module) == "vocolab":
        remedy = "update vocolab"
    elif module == "__main__" or (inspect.isclass(cls) and base is None and package_of(module) not in KNOWN):
        remedy = _how_to_import([module])
    else:
        remedy = "a part is a class of vocolab, or of a module named with --import"
    raise VocolabError(f"no such class{wanted}", path, remedy)


def modules_of(description: Any) -> list[str]:
    """The modules outside vocolab whose classes a description names, sorted."""
    return sorted(set(_modules(description)))


def _modules(description: Any) -> Iterator[str]:
    if isinstance(description, list):
        for value in description:
            yield from _modules(value)
    if not isinstance(description, dict):
        return
    for key, value in description.items():
        # A backbone names the class of its matrices as a string.
        if key in ("class_path", "linear") and isinstance(value, str):
            module = value.rpartition(".")[0]
            if module and package_of(module) not in KNOWN:
                yield module
        else:
            yield from _modules(value)


def check_imported(description: Any, where: object) -> None:
    """Raise `VocolabError` where a description names modules that are not imported, saying how to import them all."""
    modules = modules_of(description)
    failed = load_entry_points() if modules else {}
    missing = [module for module in modules if module not in sys.modules]
    for module in missing:
        if package_of(module) in failed:
            raise VocolabError(failed[package_of(module)], where, "repair or update it")
    if missing:
        raise VocolabError(f"it has parts of {' and '.join(missing)}", where, _how_to_import(missing))


def _how_to_import(modules: Sequence[str]) -> str:
    if "__main__" in modules:
        return "move the class of the part from the training script into a module, and name the module with --import"
    flags = " ".join(f"--import {module}" for module in modules)
    these = "these modules" if len(modules) > 1 else "this module"
    return f"if you trust {these}, give {flags} (in Python imports={list(modules)})"
