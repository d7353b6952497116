from __future__ import annotations

import pytest

from vocolab.errors import UsageError, VocolabError
from vocolab.files import atomic


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.suffix == ".txt"
    assert path.read_text() == "one"
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_nothing_is_replaced_unasked(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(VocolabError, match="output exists.*--overwrite"), atomic(path, overwrite=False):
        raise AssertionError("the block must not run")
    assert path.read_text() == "mine"


def test_a_disk_that_refuses_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VocolabError, match="cannot write.*free space"), atomic(tmp_path / "file" / "below"):
        pass
    with pytest.raises(VocolabError, match="No space left"), atomic(tmp_path / "full") as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "full").exists() and len(list(tmp_path.iterdir())) == 1


def test_errors_are_one_line():
    error = VocolabError("what\nhappened", "where", "do this")
    assert str(error) == "what happened: where: do this"
    assert (error.status, UsageError("x").status) == (1, 2)
