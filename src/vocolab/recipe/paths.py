"""The paths in a composed recipe: read once when it is composed, written absolute into RUN/config.yaml.

A value is a path where its parameter is annotated with one (`Path`, `str | Path`, Lightning's `_PATH`).
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from vocolab.errors import UsageError
from vocolab.files import local_path
from vocolab.recipe.slots import slots

NAMES = (
    "shards",
    "features_dir",
    "default_root_dir",
    "root",
    "path",
    "checkpoint",
    "decoder",
    "vocoder",
    "initialize_from",
    "continue_from",
    "save_dir",
    "ckpt_path",
    "config",
)  # of flags that take a path
# Folders, even if they do not exist yet. Other values that are no path on this machine may name a model of the hub.
ALWAYS = ("shards", "default_root_dir")


def read_paths(config: Namespace, roots: Mapping[str, type]) -> None:
    """Replace `~`, `~user` and `$VAR` in each path of a composed recipe. Raises `UsageError` naming the key."""
    for owner, name, key in _paths(config, roots):
        try:
            owner[name] = type(owner[name])(local_path(owner[name]))
        except UsageError as error:
            raise UsageError(error.what, f"{key} {error.where}", error.remedy) from error
    if config.ckpt_path not in (None, "last", "best"):
        config.ckpt_path = str(local_path(config.ckpt_path))


def make_absolute(config: Namespace, roots: Mapping[str, type]) -> None:
    """Make each path of a composed recipe one that holds from any working directory."""
    for owner, name, _ in _paths(config, roots):
        if name in ALWAYS or os.path.exists(owner[name]):
            owner[name] = type(owner[name])(os.path.abspath(owner[name]))


def settle(config: Namespace, roots: Mapping[str, type], recipes: list[Path]) -> None:
    """Let a run whose folder was moved or copied go on where its config.yaml lies, with paths that moved along.

    This is done only for a config.yaml beside a folder `checkpoints`, which a run has, and only if nothing else names
    the folder of the run.
    """
    for file in recipes:
        folder = file.absolute().parent
        if file.name != "config.yaml" or not (folder / "checkpoints").is_dir():
            continue
        stated = ((yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("trainer") or {}).get("default_root_dir")
        run = config.trainer.default_root_dir
        if stated is None or str(local_path(stated)) != str(run) or _same(folder, run):
            continue
        for owner, name, _ in _paths(config, roots):
            beside = os.path.normpath(folder / os.path.relpath(owner[name], run))
            if not os.path.exists(owner[name]) and os.path.exists(beside):
                owner[name] = type(owner[name])(beside)
        config.trainer.default_root_dir = str(file.parent)
        print(f"the run is where its config.yaml lies: {file.parent} (it was {run})", file=sys.stderr)


def _same(one: str | Path, other: str | Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _paths(config: Namespace, roots: Mapping[str, type]) -> Iterator[tuple[Namespace, str, str]]:
    """(namespace, name, dotted key without `init_args`) of every path that a recipe gives."""
    for arguments, cls, slot in slots(config, roots):
        named = _path_parameters(cls)
        for name, value in list(vars(arguments).items()):
            is_path = isinstance(value, (str, Path)) and str(value) not in ("", ".") and "://" not in str(value)
            if name in named and is_path:
                yield arguments, name, f"{slot}.{name}".replace(".init_args", "")


def _path_parameters(cls: Any) -> set[str]:
    """Names of the parameters that take a path. Annotations are compared as text: some name types that exist only for
    type checkers.
    """
    if cls is None:
        return set()
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {p.name for p in parameters if "path" in str(p.annotation).lower()}
