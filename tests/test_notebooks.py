"""The notebooks: as they are kept in git, and run from their first cell to their last."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbclient import NotebookClient

from tests import notebooks

NAMES = ["01_convert_a_voice", "02_train_a_vocoder", "03_valle_backbones", "04_sampling", "05_data_and_shards"]
SHOWN = dict(zip(NAMES, [(4, 11), (2, 10), (2, 0), (7, 19), (3, 1)], strict=True))  # pictures and players
# Run in the kernel before the first cell: a picture whose axes have no words stops the notebook.
LABELLED = """
import matplotlib.pyplot as plt


def show_labelled(show=plt.show):
    for number in plt.get_fignums():
        every = plt.figure(number).axes
        assert any(axes.get_xlabel() for axes in every), "an x axis without words"
        assert any(axes.get_ylabel() for axes in every), "a y axis without words"
    show()

plt.show = show_labelled
"""


@pytest.fixture(params=notebooks.files(), ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def code(path: Path) -> list[str]:
    return [cell["source"] for cell in notebooks.cells(path) if cell["cell_type"] == "code"]


def test_the_five_are_there():
    assert [file.stem for file in notebooks.files()] == NAMES


def test_one_is_kept_without_what_running_leaves(path):
    nbformat.validate(nbformat.read(path, nbformat.NO_CONVERT))
    assert path.read_text("utf-8") == notebooks.stripped(path), "run `make notebooks`"
    assert notebooks.cells(path)[0]["source"].startswith("# ") and len(code(path)) > 4


def imported(trees: list[ast.Module]) -> Iterator[tuple[str, str, str]]:
    """(module, name, what the notebook calls it) of each name that is imported from vocolab."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vocolab"):
                yield from ((node.module or "", name.name, name.asname or name.name) for name in node.names)


def test_every_cell_compiles_and_the_names_of_vocolab_are_there(path):
    trees = [ast.parse(source.replace("%matplotlib inline\n", "")) for source in code(path)]
    found = {called: getattr(importlib.import_module(module), name) for module, name, called in imported(trees)}
    assert len(found) > 2
    used = {name.id for tree in trees for name in ast.walk(tree) if isinstance(name, ast.Name)}
    assert found.keys() <= used, "imported for nothing"
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = found.get(node.value.id)
                assert not isinstance(module, ModuleType) or hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; what Jupyter, IPython and `tempfile` write goes there."""
    monkeypatch.chdir(tmp_path)
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment, not of the user's folder
    monkeypatch.delenv("MPLBACKEND", raising=False)
    return tmp_path


def run(path: Path, parameters: str = "") -> nbformat.NotebookNode:
    """The notebook, run. `parameters` are set behind those of its cell of that tag."""
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    if parameters:
        (place,) = (n for n, cell in enumerate(notebook.cells, 1) if "parameters" in cell.metadata.get("tags", []))
        notebook.cells.insert(place, nbformat.v4.new_code_cell(parameters))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(LABELLED))
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": "."}}).execute()
    return notebook


def shown(notebook: nbformat.NotebookNode) -> tuple[int, int]:
    """How many pictures and players a notebook that was run shows."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [output.get("data", {}) for output in outputs]
    return sum("image/png" in page for page in pages), sum("<audio" in page.get("text/html", "") for page in pages)


def test_the_first_runs(folders):
    """With less to convert: the same cells."""
    small = "REFERENCE, SENTENCES, KS = 2, 1, [1, 4, 16]"
    assert shown(run(notebooks.FOLDER / f"{NAMES[0]}.ipynb", small)) == SHOWN[NAMES[0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_runs_as_it_is(name, folders):
    assert shown(run(notebooks.FOLDER / f"{name}.ipynb")) == SHOWN[name]
