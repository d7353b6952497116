"""The scripts of recipes/cluster, run by two processes on this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.overlay import overlay
from tests.processes import ROOT, command, rows, saved

SCRIPTS = ROOT / "recipes" / "cluster"
CPU = str(ROOT / "configs/trainer/cpu.yaml")
# Starts the tasks of one step on this machine as SLURM would: its own options left out, its variables set.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
for task in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NODEID=0 SLURM_STEP_NUM_TASKS=$SLURM_NTASKS "$@" &
done
status=0
for job in $(jobs -p); do wait "$job" || status=$?; done
exit $status
"""


def tiny(tmp_path: Path, speech_folder: Path) -> list[str]:
    """The flags that follow the quickstart's recipe."""
    flags = [*overlay("quickstart", tmp_path), "--data.corpus", str(ROOT / "configs/corpus/folder.yaml")]
    flags += ["--data.corpus.root", str(speech_folder), "--data.corpus.val", "['*-0003']"]
    return [*flags, "--data.shards", str(tmp_path / "shards")]


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.stem)
def test_a_script_is_sound(script):
    """It parses, says how to start it, and without a recipe ends in a line that asks for one."""
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert re.search(rf"^#   .*recipes/cluster/{script.name} ", script.read_text(), re.M)
    done = subprocess.run(["bash", script], capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.endswith("name a recipe\n")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_torchrun(tmp_path, speech_folder):
    """Prepared and trained by two processes, then gone on with by the same command."""
    script, flags = SCRIPTS / "torchrun.sh", tiny(tmp_path, speech_folder)
    settings = {"PROCESSES": "2", "TRAINER": CPU, "RUN": str(tmp_path / "run")}
    for steps in (2, 4):
        more = [*flags, "--trainer.max_steps", str(steps)]
        err = command("bash", script, ROOT / "recipes/quickstart.yaml", *more, cwd=tmp_path, **settings)
        assert "Starting with 2 processes" in err
        assert saved(tmp_path / "run")["global_step"] == steps
        assert rows(tmp_path / "run", "train/loss") == list(range(steps))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_slurm(tmp_path, speech_folder):
    """Against a stand-in for `srun`: the tasks of a step share the preparation; the tasks of an array go on with one
    run, and those that come after its end change nothing.
    """
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    slurm = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    slurm |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_CPUS_PER_TASK": "1", "MASTER_PORT": str(port)}
    slurm |= {"PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]), "TRAINER": CPU}
    recipe, flags = ROOT / "recipes/quickstart.yaml", tiny(tmp_path, speech_folder)

    command("bash", SCRIPTS / "slurm_prepare.sh", recipe, *flags, cwd=tmp_path, **slurm)
    made = (tmp_path / "shards" / "manifest.json").stat().st_mtime_ns
    run = tmp_path / "runs" / "quickstart"
    for steps, total in ((2, "2"), (4, "4"), (4, "4")):
        more = [*flags, "--trainer.max_steps", total]
        command("bash", SCRIPTS / "slurm_fit.sh", recipe, *more, cwd=tmp_path, **slurm)
        assert saved(run)["global_step"] == steps and rows(run, "train/loss") == list(range(steps))
    assert (tmp_path / "shards" / "manifest.json").stat().st_mtime_ns == made
