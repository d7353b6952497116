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


def test_the_examples_hold_what_their_kinds_promise(tmp_path):
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    for number, file in enumerate(SPEECH[:4]):
        audio.write(tmp_path / "speech" / f"anna_{number}.wav", *audio.read(file))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += [f"--rootdir={ROOT}", *(str(ROOT / tests) for *_, tests in KINDS)]
    command += [argument for kind, *_ in KINDS for argument in ("--part", f"my{kind}.yaml")]
    done = subprocess.run([*command, "-rN"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed > 50, done.stdout


def test_a_part_that_breaks_its_promise_is_noticed(tmp_path):
    text = dict(FILES)["myvocoder.py"]
    (tmp_path / "myvocoder.py").write_text(text.replace(".tanh()", ".tanh().roll(1, 1)"))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += [f"--rootdir={ROOT}", str(ROOT / "tests/vocoders/test_all.py"), "--part", "myvocoder.MyVocoder"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "test_chunked_is_the_whole[myvocoder.MyVocoder-7]" in done.stdout


def test_the_snippet_names_the_entry_points_that_are_read():
    snippet = tomllib.loads(re.search(r"```toml\n(.*?)```", TEXT, re.S)[1])
    assert snippet["project"]["entry-points"] == {GROUP: {"mybackbone": "mybackbone"}}


@pytest.mark.parametrize("row", sorted(set(ROWS.values())))
def test_the_map_names_what_is_there(row):
    """Each row of the map, as `test_layers.py` has it."""
    line = re.search(rf"^\| {row} \| (.*?) \|", TEXT, re.M)[1]
    named = set(re.findall(r"`(\w+)`", line))
    assert named == {name for name, of in ROWS.items() if of == row and name != "__main__"}
