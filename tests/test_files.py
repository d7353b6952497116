from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys

import pytest

from vocolab.errors import UsageError, VocolabError
from vocolab.files import atomic, atomic_folder, read_lines, remove_leftovers


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


def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    """Not what a process that runs is writing, nor what one of another machine is."""
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    names = {}
    for name, process, machine in (("killed", ended.pid, "a"), ("here", os.getpid(), "a"), ("far", ended.pid, "b")):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        monkeypatch.setattr(platform, "node", lambda machine=machine: machine)
        for kind, path in ((atomic, tmp_path / f"{name}.tar.wav"), (atomic_folder, tmp_path / name)):
            with kind(path, []) if kind is atomic_folder else kind(path) as temporary:
                if kind is atomic:
                    temporary.write_text("half")
            names[temporary.name] = name
            path.rename(temporary)
    monkeypatch.undo()
    monkeypatch.setattr(platform, "node", lambda: "a")
    removed = remove_leftovers(tmp_path)
    assert [names[path.name] for path in removed] == ["killed", "killed"]
    assert sorted(names[path.name] for path in tmp_path.iterdir()) == ["far", "far", "here", "here"]
    assert remove_leftovers(tmp_path) == remove_leftovers(tmp_path / "none") == []


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


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_lines_end_at_newlines_alone(tmp_path, bom):
    path = tmp_path / "file.txt"
    text = "one\u2028still one\u2029\x85\x0b\x0c\x1c.\r\n\rthree\nfour"
    for end in ("", "\n"):
        path.write_bytes(bom + (text + end).encode())
        assert read_lines(path) == ["one\u2028still one\u2029\x85\x0b\x0c\x1c.", "", "three", "four"]
    path.write_bytes(bom)
    assert read_lines(path) == []


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"caf\xe9", ":1: .*iconv -f latin1 -t utf-8"),
        (b"a\r\nb\n\rd \xe9\ne", ":4: "),
        ("caf\u00e9".encode("utf-16"), ":1: .*iconv -f utf-16 -t utf-8"),
        (b"a\n\xed\xa0\x80", ":2: "),  # half of a surrogate pair, which UTF-8 forbids
    ],
)
def test_text_that_is_not_utf8_is_refused_naming_its_line(tmp_path, data, where):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(VocolabError, match=f"not UTF-8 .byte 0x[0-9a-f]{{2}}.: {tmp_path}/a.txt{where}"):
        read_lines(tmp_path / "a.txt")
    with pytest.raises(VocolabError, match=f"cannot read the file .Is a directory.: {tmp_path}"):
        read_lines(tmp_path)


WRITERS = {
    "torch": "import torch; torch.save({'a': torch.zeros(50000)}, path)",
    "safetensors": "import torch, safetensors.torch as st; st.save_file({'a': torch.zeros(50000)}, path)",
    "numpy": "import numpy; numpy.save(path, numpy.zeros(50000))",
    "soundfile": "import numpy, soundfile; soundfile.write(path, numpy.zeros(50000), 16000, format='WAV')",
    "text": "path.write_text(50000 * ' ')",
}


@pytest.mark.parametrize("statement", WRITERS.values(), ids=WRITERS)
def test_whatever_a_library_raises_on_a_full_disk_is_one_line(statement, tmp_path):
    """The limit on the size of a file stands for a full disk."""
    resource = pytest.importorskip("resource")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    exec(statement, {"path": tmp_path / "imported.npy"})  # imports may write, too
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        with pytest.raises(VocolabError, match=r"^cannot write \(.+\): .*: free space or choose another place$"):
            with atomic(tmp_path / "file.npy") as path:
                exec(statement, {"path": path})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["imported.npy"]


def test_a_bug_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(KeyError), atomic(tmp_path / "file"):
        raise KeyError("name")
    with pytest.raises(RuntimeError, match="shapes"), atomic(tmp_path / "file"):
        raise RuntimeError("shapes do not match")
