"""`vocolab demo`: what it refuses before anything is loaded, and how it ends."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import tempfile
import threading
import urllib.request

import pytest

from vocolab.checkpoints import export_hifigan
from vocolab.cli import main
from vocolab.vocoders import HiFiGAN


@pytest.fixture
def demo(capsys, tmp_path, monkeypatch):
    """Run the command, with a folder of its own for temporary files; returns its status and the last line of standard
    error.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "text.ckpt").write_text("no checkpoint")

    def run(*args: object) -> tuple[int, str]:
        status = main(["demo", "--device", "cpu", "--port", "0", *args])
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        return status, err.splitlines()[-1].removeprefix("vocolab: error: ")

    return run


SHARE = "--share opens this machine to anyone who has the address, through a server of others: command line: give --share and --share-with-anyone where that is wanted, or neither"


@pytest.mark.parametrize(
    "args, status, line",
    [
        (["--share"], 2, SHARE),
        (["--share-with-anyone"], 2, SHARE),
        (["--checkpoint", "none.ckpt"], 1, "no such file: none.ckpt: correct --checkpoint"),
        (["--lm", "none.ckpt"], 1, "no such file: none.ckpt: correct --lm"),
        (["--lm", "text.ckpt", "--codec", "none.ckpt"], 1, "no such file: none.ckpt: correct --codec"),
        (
            ["--codec", "text.ckpt"],
            2,
            "--codec without --lm: command line: leave it out, or give a language model with --lm",
        ),
        (["--port", "70000"], 2, "--port is 70000: command line: give 1 to 65535, or 0 for any that is free"),
        (["--port", "-1"], 2, "--port is -1: command line: give 1 to 65535, or 0 for any that is free"),
        (["--max-seconds", "0"], 2, "--max-seconds is 0: command line: give a number above 0"),
        (["--max-mb", "nan"], 2, "--max-mb is nan: command line: give a number above 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_one_line(demo, args, status, line):
    assert demo(*args) == (status, line)


def test_the_missing_package_names_the_extra(demo, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert demo() == (1, "the package gradio is missing: vocolab demo: pip install 'vocolab[demo]'")


def test_addresses_that_cannot_be_had(demo, monkeypatch):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, line = demo("--port", str(port))
    assert (status, line.partition(" (")[0]) == (2, "cannot serve there") and f"--host 127.0.0.1 --port {port}" in line

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # asking the network takes seconds
    status, line = demo("--host", "no.such.host.invalid")
    assert status == 2 and line.startswith("no such address (") and "--host no.such.host.invalid" in line


@pytest.mark.parametrize("flag", ["--checkpoint", "--lm"])
def test_what_is_no_checkpoint(demo, flag, tmp_path, lm_checkpoint):
    pytest.importorskip("gradio")
    status, line = demo(flag, "text.ckpt")
    assert status == 1 and "text.ckpt" in line
    status, line = demo("--checkpoint", str(lm_checkpoint))
    assert status == 1 and str(lm_checkpoint) in line
    assert list(tmp_path.glob("vocolab-demo-*")) == []


def test_an_encoder_that_is_not_there_is_told_before_anybody_visits(demo, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.setattr("vocolab.demo.server.wait", lambda: pytest.fail("the page is served"))
    status, line = demo("--encoder", "none.pt")
    assert status == 1 and "none.pt" in line
    export_hifigan(HiFiGAN(in_channels=16, projection=8, channels=16), tmp_path / "g_00000001.pt")
    status, line = demo("--checkpoint", "g_00000001.pt")
    assert status == 2 and line.startswith("the checkpoint names no encoder") and "--encoder" in line
    assert list(tmp_path.glob("vocolab-demo-*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_it_serves_until_it_is_stopped(number, monkeypatch, capsys, tmp_path):
    """A visitor opens the page; then the process is told to stop, and nothing is left of it."""
    pytest.importorskip("gradio")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found: dict[str, object] = {}

    def visit() -> None:
        try:
            address = str(found["line"]).split()[1]
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as page:
                found["page"] = page.read().decode()
            found["folders"] = [path.name for path in tmp_path.iterdir()]
        finally:
            os.kill(os.getpid(), number)

    def say(line: str) -> None:
        found["line"] = line
        visitor.start()

    visitor = threading.Thread(target=visit)
    monkeypatch.setattr("vocolab.cli.demo.say", say)
    assert main(["demo", "--device", "cpu", "--port", "0"]) == 0
    visitor.join()
    assert re.fullmatch(r"vocolab: http://127\.0\.0\.1:\d+/ \(Ctrl-C closes it\)", str(found["line"]))
    assert '"title":"vocolab"' in str(found["page"]) and str(found["folders"]).startswith("['vocolab-demo-")
    assert capsys.readouterr().err == "vocolab: closed\n"
    assert list(tmp_path.iterdir()) == []
