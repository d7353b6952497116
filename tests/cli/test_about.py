"""What a report of a fault holds: versions, devices and the last error, kept without the name of the user."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import pytest

import vocolab
from vocolab.cli import about, main


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home folder of this test's own, where nothing went wrong yet."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", [["--version", "--verbose"], ["--verbose", "--version"]])
def test_versions_and_devices(arguments, capsys):
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"vocolab {vocolab.__version__}", f"python {platform.python_version()}"]
    assert {f"{name} {version(name)}" for name in ("torch", "lightning", "jsonargparse", "soundfile")} <= set(lines)
    assert any(line.startswith("device cpu") for line in lines) and lines[-1] == "last error: none"


def test_the_last_error_is_kept_with_its_traceback_and_without_the_home_folder(home, capsys):
    absent = home / "my recipe.yaml"
    assert main(["fit", "-c", "none.yaml"]) == 2
    assert main(["fit", "-c", str(absent)]) == 2
    capsys.readouterr()
    assert main(["--version", "--verbose"]) == 0
    text = capsys.readouterr().out.split("last error (")[1]
    assert "$ vocolab fit -c '~/my recipe.yaml'" in text and str(home) not in text and "none.yaml" not in text
    assert "Traceback (most recent call last):" in text and "UsageError: no such recipe: ~/my recipe.yaml" in text


def test_a_bug_is_kept_too(monkeypatch):
    monkeypatch.setattr("vocolab.cli._run", lambda argv: {}["speaker"])
    with pytest.raises(KeyError):
        main(["fit"])
    assert about.error_file().read_text().endswith("KeyError: 'speaker'\n")


def test_where_it_cannot_be_kept_the_command_ends_as_ever(home, capsys):
    (home / ".local").write_text("a file where a folder should be")
    (home / "AppData").write_text("")
    assert main(["nonsense"]) == 2
    assert capsys.readouterr().err == "vocolab: error: unknown command 'nonsense': command line: see vocolab --help\n"
