"""Worker processes: they answer, and Ctrl-C is not for them, from their first moment."""

from __future__ import annotations

import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from vocolab import workers


def tell(connection: Connection, factor: int) -> None:
    connection.send((signal.getsignal(signal.SIGINT), factor * connection.recv()))


def test_a_worker_answers_deaf_to_ctrl_c_and_this_process_is_not():
    heard = signal.getsignal(signal.SIGINT)
    process, connection = workers.start(tell, 3)
    assert signal.getsignal(signal.SIGINT) is heard
    if (status := Path(f"/proc/{process.pid}/status")).exists():  # while it is still importing
        ignored = next(line for line in status.read_text().splitlines() if line.startswith("SigIgn"))
        assert int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1
    workers.send(connection, 4)
    assert connection.recv() == (signal.SIG_IGN, 12)
    process.join(10)
    assert process.exitcode == 0
    workers.send(connection, 5)  # it is gone: the next to receive hears of it
    with pytest.raises((EOFError, ConnectionResetError)):
        connection.recv()


SCRIPT = """
import multiprocessing
from vocolab import workers
if multiprocessing.current_process().name != "MainProcess":
    raise SystemExit(3)
process, connection = workers.start(print, bytes(1_000_000))
try:
    connection.recv()
except (EOFError, ConnectionResetError):
    process.join()
    print(process.exitcode)
"""


def test_a_worker_that_a_script_kills_at_its_start_is_noticed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3\n", "")
