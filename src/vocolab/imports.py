"""Modules outside vocolab that hold parts: those a user names, and those that installed packages offer.

Only these are imported, and never because a checkpoint says so.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from vocolab.errors import UsageError

GROUP = "vocolab.parts"  # of entry points
# The packages whose classes a checkpoint may name. Like `sys.modules`, this is a matter of the whole process.
_trusted = {"vocolab"}


def package_of(module: str) -> str:
    """The outermost package: `vocolab.lm.ar` -> `vocolab`."""
    return module.split(".")[0]


def is_trusted(cls: type) -> bool:
    """Whether `cls`, or a class it derives from, belongs to vocolab, to a package the user named, or to one that offers
    parts.
    """
    return any(package_of(parent.__module__) in _trusted for parent in cls.__mro__)


def import_parts(names: Iterable[str], where: object = "imports", folders: Sequence[Path] = ()) -> list[str]:
    """Import modules of parts; returns how each is named from any working directory.

    A name is `package.module`, looked for among the installed packages, in `folders` and in the working directory, or
    `FOLDER/module` or `FOLDER/module.py`, relative to the first of `folders` or to the working directory. Raises
    `UsageError` where there is none, or where it does not import; `where` is the place that names it.
    """
    return [_import(name, where, [*folders, Path.cwd()]) for name in names]


def _import(name: str, where: object, folders: Sequence[Path]) -> str:
    path = Path(name.removesuffix(".py")).expanduser()
    written_as_path = len(path.parts) > 1 or name.endswith(".py")
    places = [(folders[0] / path.parent).resolve()] if written_as_path else [f.resolve() for f in folders]
    # Appended: a file in the user's folder must not hide a module that something else imports. Processes that are
    # started later inherit the list.
    sys.path += [str(place) for place in places if str(place) not in sys.path]
    importlib.invalidate_caches()
    module = _module(path.name, where, places)
    home = next((place for place in places if _lies_in(module, place)), None)
    file = None if home is None else home / f"{path.name}.py"
    _check_is_meant(module, path.name, places, where)
    _trusted.add(package_of(path.name))
    if home is None:
        return path.name
    return str(file if file is not None and file.is_file() else home / path.name)


def _module(name: str, where: object, places: Sequence[Path]) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failure(name, where, error) from error
        looked = " or ".join(str(place) for place in dict.fromkeys(places))
        remedy = f"it is neither in {looked} nor installed: correct the name, or give the file's path"
        raise UsageError(f"no module {error.name!r}", where, remedy) from error
    except (Exception, SystemExit) as error:
        raise _failure(name, where, error) from error


def _failure(name: str, where: object, error: BaseException) -> UsageError:
    return UsageError(f"the module {name} does not import ({_reason(error)})", where, "correct the module")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether the module's outermost package or file stands in `folder`."""
    root = package_of(module.__name__)
    file = getattr(module, "__file__", None)
    if file is None:
        return (folder / module.__name__.replace(".", os.sep)).is_dir()
    return Path(file).resolve() == (folder / f"{root}.py").resolve() or (folder / root) in Path(file).resolve().parents


def _check_is_meant(module: ModuleType, name: str, places: Sequence[Path], where: object) -> None:
    """Refuse a file whose name Python takes for another module."""
    file = places[0] / f"{name}.py"
    if file.is_file() and not _lies_in(module, places[0]):
        what = f"Python imports another module by the name {name} ({getattr(module, '__file__', None) or 'built in'})"
        raise UsageError(what, where, f"rename {file}")


@functools.cache
def load_entry_points() -> dict[str, str]:
    """Import the modules that installed packages offer in the group `vocolab.parts`, once in a process.

    Returns the packages that do not import, each with the reason, which is also printed on standard error.
    """
    from importlib.metadata import entry_points  # slow enough to matter where only help is asked for

    failed: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        distribution = point.dist.name if point.dist else point.module
        try:
            importlib.import_module(point.module)
        except (Exception, SystemExit) as error:
            failed[package_of(point.module)] = f"the package {distribution} does not import: {_reason(error)}"
            line = f"vocolab: parts of the package {distribution} are left out: {point.module}: {_reason(error)}"
            print(" ".join(line.split()), file=sys.stderr, flush=True)
        else:
            _trusted.add(package_of(point.module))
    return failed
