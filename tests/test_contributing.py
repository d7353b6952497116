"""The examples of CONTRIBUTING.md are parts that hold what their kinds promise; its map names what is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contract import SPEECH
from tests.test_layers import ROWS
from vocolab import audio
from vocolab.imports import GROUP

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = re.findall(r"```(?:python|yaml)\n# (\w+\.(?:py|yaml))\n(.*?)```", TEXT, re.S)
KINDS = re.findall(r"^\| (\w+) \| `(\w+)`, `([\w/.]+)` \| `(tests/[\w/]+/test_all\.py)` \|", TEXT, re.M)


def test_each_kind_has_an_example_a_base_class_and_tests():
    assert [kind for kind, *_ in KINDS] == ["vocoder", "backbone", "codec", "encoder", "corpus"]
    for kind, base, file, tests in KINDS:
        assert {f"my{kind}.py", f"my{kind}.yaml"} <= {name for name, _ in FILES}
        assert f"class {base}(" in (ROOT / "src" / "vocolab" / file).read_text() and (ROOT / tests).is_file()


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> str:
    """What pytest says of the examples, and of a vocoder whose speech is a sample late."""
    folder = tmp_path_factory.mktemp("examples")
    for name, text in FILES:
        (folder / name).write_text(text)
    (folder / "late.py").write_text(dict(FILES)["myvocoder.py"].replace(".tanh()", ".tanh().roll(1, 1)"))
    for number, file in enumerate(SPEECH[:4]):
        audio.write(folder / "speech" / f"anna_{number}.wav", *audio.read(file))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += [f"--rootdir={ROOT}", *(str(ROOT / tests) for *_, tests in KINDS)]
    command += [argument for kind, *_ in KINDS for argument in ("--part", f"my{kind}.yaml")]
    command += ["--part", "late.MyVocoder", "-rfE"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


def test_the_examples_hold_what_their_kinds_promise(said):
    assert int(re.search(r"(\d+) passed", said)[1]) > 50, said[-6000:]
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)", said, re.M)
    assert failed and [line for line in failed if "late.MyVocoder" not in line] == [], said[-6000:]


def test_a_part_that_breaks_its_promise_is_noticed(said):
    noticed = r"^FAILED \S*tests/vocoders/test_all\.py::test_chunked_is_the_whole\[late\.MyVocoder-7\]"
    assert re.search(noticed, said, re.M), said[-6000:]


def test_the_snippet_names_the_entry_points_that_are_read():
    snippet = tomllib.loads(re.search(r"```toml\n(.*?)```", TEXT, re.S)[1])
    assert snippet["project"]["entry-points"] == {GROUP: {"mybackbone": "mybackbone"}}


@pytest.mark.parametrize("row", sorted(set(ROWS.values())))
def test_the_map_names_what_is_there(row):
    """Each row of the map, as `test_layers.py` has it."""
    line = re.search(rf"^\| {row} \| (.*?) \|", TEXT, re.M)[1]
    named = set(re.findall(r"`(\w+)`", line))
    assert named == {name for name, of in ROWS.items() if of == row and name != "__main__"}
