"""The recipes, configs and notebooks that come with the package, found where a name leads to no file of the user's.

In an installed package they lie beside this module, in a checkout at the top of the repository. This module imports
nothing heavy.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

FOLDERS = ("recipes", "configs")
SUFFIXES = (".yaml", ".yml")
CLUSTER = "cluster"  # beside the recipes: the folder of scripts
NOTEBOOKS = "notebooks"


def root() -> Path:
    """The folder that holds `recipes`, `configs` and `notebooks`."""
    package = Path(__file__).parent
    return package if (package / "recipes").is_dir() else package.parents[1]


def find(name: str | Path, folder: Path | str = "") -> Path:
    """The file that `name`, relative to `folder`, means: the one that is there, else the packaged one.

    A packaged file is known by the end of its name, from `recipes` or `configs` on: `../configs/trainer/gpu.yaml`.
    Where there is neither, the path in `folder` comes back.
    """
    path = Path(os.path.normpath(Path(folder) / name))
    packaged = _packaged(name)
    return packaged if packaged is not None and not path.exists() and packaged.is_file() else path


def _packaged(name: str | Path) -> Path | None:
    """Where the package would hold `name`; None for a name that is not of its form."""
    if Path(name).is_absolute():
        return None
    parts = [part for part in Path(os.path.normpath(name)).parts if part != os.pardir]
    return root().joinpath(*parts) if parts and parts[0] in FOLDERS else None


def suggestion(name: str | Path, folder: Path | str = "") -> str:
    """A remedy for a `name` that means no file: the nearest ones in its folder and in the package."""
    packaged = _packaged(name)
    here = _yaml_files(Path(os.path.normpath(Path(folder) / name)).parent)
    there = _yaml_files(packaged.parent) if packaged is not None else _yaml_files(root() / "recipes") + _all_configs()
    spelt = {str(file): file.stem for file in here}
    spelt |= {file.relative_to(root()).as_posix(): file.stem for file in there}
    close = difflib.get_close_matches(Path(name).stem, spelt.values(), 3, cutoff=0.75)
    if close:
        nearest = [file for stem in dict.fromkeys(close) for file in spelt if spelt[file] == stem]
        return f"did you mean {' or '.join(nearest)}?"
    return f"choose from {', '.join(spelt)}" if packaged is not None and spelt else "check the path"


def _all_configs() -> list[Path]:
    return [file for folder in sorted((root() / "configs").glob("*")) for file in _yaml_files(folder)]


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.y*ml") if path.suffix in SUFFIXES) if folder.is_dir() else []


def recipes() -> dict[str, Path]:
    """The packaged recipes by name."""
    return {path.stem: path for path in sorted(_yaml_files(root() / "recipes"), key=lambda path: path.stem)}


def scripts() -> list[Path]:
    """The packaged scripts that run recipes on a cluster."""
    return sorted((root() / "recipes" / CLUSTER).glob("*.sh"))


def notebooks() -> list[Path]:
    """The packaged notebooks."""
    return sorted((root() / NOTEBOOKS).glob("*.ipynb"))


def with_slots(path: Path) -> list[Path]:
    """A packaged file and the files it names, and those that they name."""
    import yaml

    found, waiting = [], [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.append(file)
            texts = _scalars(yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader))
            waiting += [find(text, file.parent) for text in texts if text.endswith(SUFFIXES)]
    return found


def _scalars(node: Any) -> list[str]:
    """The strings of a YAML document given as nodes."""
    if node is None or isinstance(node.value, str):
        return [] if node is None else [node.value]
    items = [item[1] if isinstance(item, tuple) else item for item in node.value]  # a mapping's are (key, value)
    return [text for item in items for text in _scalars(item)]
