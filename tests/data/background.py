"""A preparation in processes of its own, to be killed or to work beside another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import contextlib, sys, time
from tests.data.parts import Letters, Quantiles
from vocolab.data.preparation import scan, work
from vocolab.data.corpora import LibriSpeech
from vocolab.data.preparation.prepare import Preparation, Prematch, prepare
from vocolab.encoders.whisper import Whisper

finish = work.Work.finish

@contextlib.contextmanager
def slowly(self, *item):
    with finish(self, *item) as folder:
        yield folder
        time.sleep(float(sys.argv[3]))  # the worker processes run this too: a kill finds items half done

work.Work.finish = slowly
if __name__ == "__main__":
    scan.UNIT_SECONDS = 6.0
    prepare(Preparation(LibriSpeech(sys.argv[1]), PARTS, shard_mb=1), sys.argv[2], 2)
"""


def start(parts: str, corpus: Path, shards: Path, slow: float = 0.0, **environment: str) -> subprocess.Popen:
    """A preparation by two workers in a process group of its own; `slow` seconds pass before an item is finished.
    `parts`: what `Preparation` makes of the speech, as arguments in Python.
    """
    script, root = shards.parent / "prepare_script.py", str(Path(__file__).parents[2])
    script.write_text(SCRIPT.replace("PARTS", parts))
    command = [sys.executable, str(script), str(corpus), str(shards), str(slow)]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root}/src"} | environment
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=root, start_new_session=True, env=environment
    )
