"""List the packaged recipes, or copy one to edit.

copy writes DIR/recipes/NAME.yaml and, under DIR/configs, the files it names. In DIR, -c recipes/NAME.yaml then means
the copy. A file that differs from the packaged one is replaced only with --overwrite. `copy cluster` writes the scripts
that run recipes under torchrun and SLURM to DIR/recipes/cluster, `copy notebooks` the notebooks to DIR/notebooks.
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from vocolab import shipped
from vocolab.errors import UsageError, VocolabError
from vocolab.files import atomic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vocolab recipes [copy NAME [DIR]] [--overwrite]"
    parser.add_argument("action", metavar="copy", nargs="?", help="copy one recipe instead of listing all")
    parser.add_argument("name", metavar="NAME", nargs="?", help="a recipe of the list")
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="where the copy goes (default: here)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


def run(args: argparse.Namespace) -> int:
    if args.action is None:
        return _list()
    if args.action != "copy":
        raise UsageError(f"cannot {args.action} recipes", "command line", "give copy NAME, or nothing to list them")
    if args.name is None:
        raise UsageError("no recipe to copy", "command line", "name one of those that vocolab recipes lists")
    for path in copy(args.name, args.folder or Path(), args.overwrite):
        print(path)
    return 0


def _list() -> int:
    found = shipped.recipes()
    width = max(map(len, [*found, shipped.NOTEBOOKS]))
    for name, path in found.items():
        print(f"{name:<{width}}  {_headline(path)}")
    for name, kind, paths in (
        (shipped.CLUSTER, "Scripts", shipped.scripts()),
        (shipped.NOTEBOOKS, "Notebooks", shipped.notebooks()),
    ):
        print(f"{name:<{width}}  {kind}: {', '.join(path.name for path in paths)}.")
    return 0


def copy(name: str, folder: Path, overwrite: bool) -> list[Path]:
    """Write the packaged recipe `name` and its slot files, the scripts or the notebooks, under `folder`; return the
    copies.
    """
    targets = {source: folder / source.relative_to(shipped.root()) for source in _sources(name)}
    for source, target in targets.items():
        if target.exists() and not overwrite and not _same(source, target):
            raise VocolabError("output exists", target, "choose another DIR or pass --overwrite")
    for source, target in targets.items():
        if not _same(source, target):
            with atomic(target) as temporary:
                temporary.write_bytes(source.read_bytes())
    return list(targets.values())


def _sources(name: str) -> list[Path]:
    """The packaged files that `name` means."""
    if name == shipped.CLUSTER:
        return shipped.scripts()
    if name == shipped.NOTEBOOKS:
        return shipped.notebooks()
    found = shipped.recipes()
    recipe = found.get(Path(name).name.removesuffix(".yaml"))
    if recipe is None:
        close = difflib.get_close_matches(name, [*found, shipped.CLUSTER, shipped.NOTEBOOKS], 1)
        remedy = f"did you mean {close[0]}?" if close else "see vocolab recipes"
        raise UsageError(f"no such recipe {name!r}", "vocolab recipes copy", remedy)
    return shipped.with_slots(recipe)


def _same(source: Path, target: Path) -> bool:
    return target.is_file() and target.read_bytes() == source.read_bytes()


def _headline(path: Path) -> str:
    """The first line of a recipe's header."""
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip()
