"""Training in several processes, for the tests of ranks and of the cluster scripts."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

ROOT = Path(__file__).parents[1]


class SignalOnce(Callback):
    """Sends the first rank a signal in the middle of update `step`, unless the file `done` says that it was sent."""

    def __init__(self, step: int, signum: int, done: str):
        self.step, self.signum, self.done = step, signum, Path(done)

    def on_train_batch_start(self, trainer, *_):
        if trainer.is_global_zero and trainer.global_step == self.step and not self.done.exists():
            self.done.touch()
            os.kill(os.getpid(), self.signum)


def environment(**more: str) -> dict[str, str]:
    """The environment of a command that runs this working tree, as `vocolab` and as `python -m vocolab`."""
    found = os.environ | more
    commands = os.pathsep.join([str(Path(sys.executable).parent), found["PATH"]])
    return found | {"PATH": commands, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/src", "OMP_NUM_THREADS": "1"}


def command(*arguments: str | Path, cwd: Path = ROOT, status: int = 0, **more: str) -> str:
    """Run a command, and whatever it starts, to its end; return its standard error. `more`: of its environment."""
    process = subprocess.Popen(
        [str(a) for a in arguments],
        cwd=cwd,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=900)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # ranks that outlive the first one
        except ProcessLookupError:
            pass
    assert process.returncode == status, out + err
    return err


def await_file(path: Path, process: subprocess.Popen, seconds: float = 300) -> None:
    """Wait until a process has written a file. Where it does not, it is killed and the test fails."""
    until = time.monotonic() + seconds  # a start takes seconds, and minutes where much else is running
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    if not path.exists():
        process.kill()
        pytest.fail(f"no {path}: {process.communicate()[1]}")


def saved(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def rows(run: Path, column: str) -> list[int]:
    """The steps of metrics.csv at which `column` has a value."""
    with open(run / "metrics.csv", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row[column]]


def assert_same_run(one: Path, other: Path) -> None:
    """That two runs ended with the same weights, optimizers and counts, and logged the same steps once."""
    a, b = saved(one), saved(other)
    assert a["global_step"] == b["global_step"]
    for key in ("state_dict", "optimizer_states"):
        assert_equal(a[key], b[key], key)
    assert (found := rows(other, "train/loss")) == rows(one, "train/loss") == sorted(set(found))
    assert rows(other, "time/update") == rows(one, "time/update") == rows(one, "train/loss")


def assert_equal(one: Any, other: Any, where: str) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, (dict, list)):
        assert len(one) == len(other), where
        keys = one if isinstance(one, dict) else range(len(one))
        for key in keys:
            assert_equal(one[key], other[key], f"{where}.{key}")
    else:
        assert one == other, where
