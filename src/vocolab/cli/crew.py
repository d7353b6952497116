"""Processes that convert files side by side, each with one thread."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from vocolab import workers
from vocolab.cli.conversions import Done, Job
from vocolab.errors import VocolabError

PATIENCE = 10.0  # s that a worker has to remove its temporary file when it is ended


class Crew:
    """`count` worker processes. Each takes the next job when it has done one; one that dies costs the job it had, and
    another takes its place.
    """

    def __init__(self, count: int, args: argparse.Namespace, voice: Path):
        self.count, self.args, self.voice = count, args, voice
        self._hands: dict[Connection, tuple[BaseProcess, Job]] = {}

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Done | VocolabError]]:
        """Do the jobs; yield each with what became of it, as it ends."""
        left = deque(jobs)
        try:
            while left or self._hands:
                while left and len(self._hands) < self.count:
                    process, connection = workers.start(serve, self.args, self.voice)
                    self._give(connection, process, left.popleft())
                ready = wait(list(self._hands))
                for connection in [c for c in self._hands if c in ready]:
                    process, job = self._hands.pop(connection)
                    outcome = _receive(connection, process, job)
                    if outcome is None:  # the worker is gone
                        outcome = _died(process, job)
                    elif left:
                        self._give(connection, process, left.popleft())
                    else:
                        connection.close()  # the worker ends by itself
                    yield job, outcome
        finally:
            self._end()

    def _give(self, connection: Connection, process: BaseProcess, job: Job) -> None:
        self._hands[connection] = process, job
        workers.send(connection, job)

    def _end(self) -> None:
        for process, _ in self._hands.values():
            process.terminate()
        for process, _ in self._hands.values():
            process.join(PATIENCE)
            process.kill()
        self._hands = {}


def serve(connection: Connection, args: argparse.Namespace, voice: Path) -> None:
    """The life of a worker: load the converter and the voice, then do what comes until the connection closes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exception: temporary files are removed
    import torch

    torch.set_num_threads(1)
    from vocolab.cli.conversions import convert
    from vocolab.cli.convert import load
    from vocolab.cli.voice import load_voice
    from vocolab.imports import import_parts

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone or has no more
        import_parts(args.imports)
        vc = load(args, "cpu")
        spoken = load_voice(voice, vc)
        while True:
            job: Job = connection.recv()
            try:
                connection.send(convert(vc, spoken, job, args))
            except VocolabError as error:
                connection.send((error.what, error.where, error.remedy))


def _receive(connection: Connection, process: BaseProcess, job: Job) -> Done | VocolabError | None:
    try:
        message = connection.recv()
    except (EOFError, ConnectionResetError):
        return None
    return message if isinstance(message, Done) else VocolabError(*message)


def _died(process: BaseProcess, job: Job) -> VocolabError:
    process.join(PATIENCE)
    status = process.exitcode or 0
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return VocolabError(f"its worker process {how}", job.source, "with fewer --workers if memory ran out, try it again")
