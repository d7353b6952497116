"""What every command shares: help without waiting, one line for a mistake, the exit status."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import subprocess
import sys

import pytest

import vocolab
from vocolab import cli
from vocolab.cli import main
from vocolab.errors import UsageError, VocolabError

HEAVY = ("torch", "numpy", "lightning", "transformers", "soundfile", "jsonargparse", "omegaconf", "matplotlib")
LIGHT = [["--help"], ["--version"], [], *([name, "--help"] for name in cli.COMMANDS)]


@pytest.mark.parametrize("args", LIGHT, ids=lambda args: " ".join(args) or "nothing")
def test_help_imports_nothing_heavy(args):
    code = f"import sys; from vocolab.cli import main; s = main({args}); print(s, *set(sys.modules) & set({HEAVY}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert len(done.stdout) > 10 and done.stderr == ""


def test_the_heavy_ones_are_noticed():
    """The test above would pass with names that no module has."""
    code = f"import sys, vocolab.recipe; print(*set(sys.modules) & set({HEAVY}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "lightning", "jsonargparse", "omegaconf", "numpy"} <= set(done.stdout.split())


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vocolab {vocolab.__version__}\n"


def test_every_command_is_in_the_help(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in [*cli.TRAINER, *cli.COMMANDS])


def test_python_m_vocolab():
    done = subprocess.run([sys.executable, "-m", "vocolab", "fitt"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "vocolab: error: unknown command 'fitt': command line: did you mean fit?\n"


@pytest.mark.parametrize(
    "args, line",
    [
        (["nonsense"], "unknown command 'nonsense': command line: see vocolab --help"),
        (["convert", "--outptu", "x"], "unknown argument '--outptu', did you mean --output?: command line: see vocolab convert --help"),
        (["synthesize", "--outptu", "x"], "the following arguments are required: --checkpoint: command line: see vocolab synthesize --help"),
        (["convert", "--checkpoint", "x", "--outptu=x"], "unknown argument '--outptu=x', did you mean --output?: command line: see vocolab convert --help"),
        (["convert", "--checkpoint"], "argument --checkpoint: expected one argument: command line: see vocolab convert --help"),
        (["prepare", "--workers", "two"], "argument --workers: invalid int value: 'two': command line: see vocolab prepare --help"),
        (["prepare", "--workers", "0", "-c", "x"], "--workers is 0: command line: give at least 1"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(args, line, capsys):
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"vocolab: error: {line}\n")


def test_a_file_whose_name_begins_with_a_dash(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-a.wav").touch()
    assert main(["convert", "-a.wav", "--ref", "b.wav", "--checkpoint", "c", "-o", "d.wav"]) == 2
    line = "vocolab: error: unknown argument '-a.wav': command line: write ./-a.wav for the file\n"
    assert capsys.readouterr().err == line


class Raises:
    """A command that ends in the exception given."""

    def __init__(self, error: BaseException):
        self.error = error

    def add_arguments(self, parser):
        pass

    def run(self, args):
        raise self.error


@pytest.fixture
def command(monkeypatch):
    def install(error: BaseException) -> None:
        monkeypatch.setitem(cli.COMMANDS, "boom", ("boom", "a command"))
        monkeypatch.setattr(cli.importlib, "import_module", lambda name: Raises(error))

    return install


@pytest.mark.parametrize("error, status", [(VocolabError("a", "b", "c"), 1), (UsageError("a", "b", "c"), 2)])
def test_our_errors_become_a_line(error, status, command, capsys, monkeypatch):
    monkeypatch.delenv("VOCOLAB_DEBUG", raising=False)
    command(error)
    assert main(["boom"]) == status
    assert capsys.readouterr().err == "vocolab: error: a: b: c\n"


def test_debugging_shows_the_traceback(command, capsys, monkeypatch):
    monkeypatch.setenv("VOCOLAB_DEBUG", "1")
    command(VocolabError("a", "b", "c"))
    assert main(["boom"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and lines[-1] == "vocolab: error: a: b: c"


def test_a_bug_is_not_dressed_up(command):
    command(KeyError("speaker"))
    with pytest.raises(KeyError):
        main(["boom"])


def test_interruption(command, capsys):
    command(KeyboardInterrupt())
    assert main(["boom"]) == 130
    assert capsys.readouterr().err == "vocolab: interrupted\n"
