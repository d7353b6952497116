"""The processes that share a preparation's work, on this machine and on others."""

from __future__ import annotations

import contextlib
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from vocolab import workers
from vocolab.data.preparation import encode, pack, prematch, scan
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work
from vocolab.errors import VocolabError

STAGES: dict[str, Callable[..., Iterator[Any]]] = {
    encode.STAGE: encode.encode,
    prematch.STAGE: prematch.match,
    pack.STAGE: pack.pack,
}


def share_of_ranks(rank: int | None, world: int | None) -> tuple[int, int]:
    """This process's rank and how many there are: as given, else as torchrun or a SLURM step says."""
    for of_rank, of_world in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if rank is None and of_rank in os.environ and of_world in os.environ:
            rank, world = int(os.environ[of_rank]), int(os.environ[of_world])
    return rank or 0, world or 1


def devices(device: str, workers: int | None) -> list[str]:
    """The device of each worker process: by default one worker for each core, or a single one where there is a GPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return ["cpu"] * (workers or cores())
    if device != "cuda":
        return [device] * (workers or 1)
    first, count = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))), torch.cuda.device_count()
    return [f"cuda:{(first * (workers or 1) + worker) % count}" for worker in range(workers or 1)]


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """The workers of all stages. With one device this process does the work; with more, a process for each does.

    On a CPU each computes with exactly one thread, so that the number of workers changes no bit of the results.
    """

    def __init__(self, preparation: Preparation, work: Work, devices: Sequence[str]):
        self.devices = list(devices)
        self._packed = pickle.dumps((preparation, work))
        self._workers: list[tuple[BaseProcess, Connection]] = []
        self._own: tuple[Preparation, Work, scan.Scan] | None = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *raised: Any) -> None:
        for process, connection in self._workers:
            connection.close()
            process.terminate()
        for process, _ in self._workers:
            process.join()
        self._workers, self._own = [], None

    def run(self, stage: str, names: Sequence[int | str]) -> Iterator[int | str]:
        """Do a stage for the items of these names; yield each when it is done. Worker w of n takes items w, w + n, …"""
        if not names:
            return
        if len(self.devices) == 1:
            yield from self._run_here(stage, names)
            return
        if not self._workers:
            self._workers = [workers.start(serve, self._packed, device) for device in self.devices]
        busy = {connection: process for process, connection in self._workers}
        for worker, (_, connection) in enumerate(self._workers):
            workers.send(connection, (stage, list(names[worker :: len(self.devices)])))
        while busy:
            ready = wait(list(busy))
            for connection in [c for c in busy if c in ready]:
                message = _receive(connection, busy[connection])
                if message is None:
                    del busy[connection]
                else:
                    yield message

    def _run_here(self, stage: str, names: Sequence[int | str]) -> Iterator[int | str]:
        if self._own is None:  # a copy: the caller's encoder is not changed, and the weights are freed with it
            preparation, work = pickle.loads(self._packed)
            self._own = preparation, work, scan.load(work)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1 if self.devices[0] == "cpu" else threads)
            yield from STAGES[stage](*self._own, names, self.devices[0])
        finally:
            torch.set_num_threads(threads)


def serve(connection: Connection, packed: bytes, device: str) -> None:
    """The life of a worker process: stages asked for through the connection, until it closes."""
    try:
        if device == "cpu":
            torch.set_num_threads(1)
        preparation, work = pickle.loads(packed)
        found = scan.load(work)
        while True:
            stage, names = connection.recv()
            for name in STAGES[stage](preparation, work, found, names, device):
                connection.send(name)
            connection.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone, so nobody wants the work
        return
    except BaseException as error:
        if os.environ.get("VOCOLAB_DEBUG"):
            traceback.print_exc()
        message = (f"{type(error).__name__}: {error}", "", "")
        if isinstance(error, VocolabError):
            message = (error.what, error.where, error.remedy)
        with contextlib.suppress(OSError):
            connection.send(("failed", *message))


def _receive(connection: Connection, process: BaseProcess) -> Any:
    try:
        message = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        process.join(10)
        remedy = "run again to go on; with fewer --workers if memory ran out"
        raise VocolabError(f"a worker process died (status {process.exitcode})", "", remedy) from error
    if isinstance(message, tuple):
        _, what, where, remedy = message
        raise VocolabError(what, where, remedy or "run again with VOCOLAB_DEBUG=1 to see where it happened")
    return message
