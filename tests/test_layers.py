"""The table of layers (design: a folder imports only from the rows above it), held against the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vocolab"
ROWS = {
    "attention": 0, "audio": 0, "blocks": 0, "text": 0, "errors": 0, "files": 0, "extras": 0, "imports": 0, "parts": 0,
    "cudagraph": 0, "curves": 0, "downloads": 0, "prepared": 0, "remote": 0, "workers": 0,
    "precision": 0, "rng": 0, "shipped": 0, "signals": 0, "torchfile": 0, "weights": 0, "_compat": 0, "checks": 0,
    "encoders": 1, "matching": 1, "vocoders": 1, "codecs": 1, "lm": 1, "metrics": 1,
    "data": 2, "checkpoints": 2,
    "pipelines": 3, "tasks": 3, "callbacks": 3, "pictures": 3,
    "cli": 4, "recipe": 4, "report": 4, "evaluation": 4, "demo": 4, "export": 4, "plot": 4, "__main__": 4,
}  # fmt: skip
TOGETHER = {0, 2, 3, 4}  # rows whose members may import each other; those of row 1 never do
LIGHTNING = {"data/module.py", "tasks", "callbacks", "cli", "recipe"}


def imports(path: Path) -> list[tuple[str, int]]:
    """Modules a file imports anywhere in it, with lines; `from vocolab import audio` counts as vocolab.audio."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"vocolab.{alias.name}" for alias in node.names] if node.module == "vocolab" else [node.module]
            found += [(name, node.lineno) for name in names]
    return found


def violations(path: Path, folder: str) -> list[str]:
    row, found = ROWS[folder], []
    for name, line in imports(path):
        package, _, rest = name.partition(".")
        other = rest.split(".")[0]
        if package != "vocolab" or other in ("", "__version__", folder):
            continue
        same = ROWS[other] == row and row not in TOGETHER
        if ROWS[other] > row or same:
            found.append(f"{path.name}:{line}: {folder} (row {row}) imports {name} (row {ROWS[other]})")
    return found


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts != ("__init__.py",)]


def folder_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_from_the_rows_above(path):
    folder = folder_of(path)
    assert folder in ROWS, f"{folder}: not in the design's table"
    assert violations(path, folder) == []


def test_there_is_something_to_hold():
    assert len(FILES) > 30 and {"audio", "encoders", "vocoders", "data", "tasks", "cli"} <= {*map(folder_of, FILES)}


@pytest.mark.parametrize(
    "folder, text",
    [
        ("audio", "import vocolab.encoders"),
        ("encoders", "def f():\n    from vocolab.vocoders import HiFiGAN"),
        ("vocoders", "from vocolab import data"),
        ("data", "from vocolab.tasks.base import Task"),
        ("pipelines", "from vocolab.cli import main"),
    ],
)
def test_a_wrong_import_is_noticed(folder, text, tmp_path):
    (tmp_path / "x.py").write_text(text)
    assert len(violations(tmp_path / "x.py", folder)) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_lightning_stays_where_training_is(path):
    relative = path.relative_to(SOURCE).as_posix()
    allowed = any(relative == place or relative.startswith(place + "/") for place in LIGHTNING)
    uses = [f"line {line}" for name, line in imports(path) if name.split(".")[0] in ("lightning", "jsonargparse")]
    assert allowed or not uses


def test_no_wildcard_imports():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*"), path


def test_the_command_line_stands_above_the_other_doors():
    """`recipe`, `report`, `export` and `plot` are used from Python too, without a command line."""
    upwards = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in FILES
        if folder_of(path) not in ("cli", "__main__")
        for name, line in imports(path)
        if name.startswith("vocolab.cli")
    ]
    assert upwards == []


def test_the_table_names_only_what_is_there():
    there = {path.name.removesuffix(".py") for path in SOURCE.iterdir()}
    assert set(ROWS) <= there
