"""The notebooks: their cells, and their files without what running them leaves (`make notebooks`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def files() -> list[Path]:
    return sorted(FOLDER.glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, each with its `source` as one string."""
    return [cell | {"source": "".join(cell["source"])} for cell in json.loads(path.read_text("utf-8"))["cells"]]


def stripped(path: Path) -> str:
    """The file of a notebook without outputs, counts, and what else an editor notes; cells are numbered."""
    found = [_stripped(cell, number) for number, cell in enumerate(cells(path), 1)]
    about = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    whole = {"cells": found, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _stripped(cell: dict[str, Any], number: int) -> dict[str, Any]:
    tags = cell["metadata"].get("tags")
    kept: dict[str, Any] = {"cell_type": cell["cell_type"]}
    if cell["cell_type"] == "code":
        kept |= {"execution_count": None}
    kept |= {"id": f"cell-{number:02d}", "metadata": {"tags": tags} if tags else {}}
    if cell["cell_type"] == "code":
        kept |= {"outputs": []}
    return kept | {"source": cell["source"].splitlines(keepends=True)}


if __name__ == "__main__":
    for file in files():
        file.write_text(stripped(file), "utf-8")
