"""Recording on a GPU, with torch's part in it played on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from vocolab import cudagraph


class Generator:
    """Draws, unless it takes itself to be recorded: as torch 2.11 leaves it after a recording that failed."""

    def __init__(self, recorded: bool = False):
        self.recorded = recorded

    def clone_state(self) -> Generator:
        return Generator()

    def graphsafe_set_state(self, state: Generator) -> None:
        self.recorded = state.recorded


class Machine:
    """Streams and recordings. One that fails goes on using its stream, and says no more than that it failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        device = torch.device("cuda", 0)
        self.default, self.side = (SimpleNamespace(device=device, waited=[]) for _ in range(2))
        for stream in (self.default, self.side):
            stream.wait_stream = stream.waited.append
        self.current, self.generator, self.recordings = self.default, Generator(), 0
        for name, value in {
            "current_stream": lambda device: self.current,
            "stream": self.stream,
            "CUDAGraph": object,
            "graph": self.graph,
            "default_generators": (self.generator,),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    @contextmanager
    def stream(self, stream: SimpleNamespace) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph: object, pool: object, stream: SimpleNamespace, capture_error_mode: str) -> Iterator[None]:
        before, self.current, self.generator.recorded = self.current, stream, True
        self.recordings += 1
        try:
            yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture") from None
        self.current, self.generator.recorded = before, False


def test_a_function_is_called_once_to_be_recorded(monkeypatch):
    machine = Machine(monkeypatch)
    seen = []

    def function() -> int:
        seen.append((machine.current, torch.is_autocast_cache_enabled()))
        return 7

    assert cudagraph.aside(function, machine.side) == 7
    assert machine.side.waited == [machine.default] and machine.default.waited == [machine.side]
    graph, made = cudagraph.record(function, machine.side)
    assert made == 7 and graph is not None and machine.recordings == 1
    assert seen == [(machine.side, False)] * 2  # autocast keeps no weight that a recording would go on reading
    assert machine.current is machine.default and torch.is_autocast_cache_enabled()


@pytest.mark.parametrize("inside", [True, False])
def test_a_recording_that_fails_leaves_torch_as_it_was_and_says_why(monkeypatch, inside):
    machine = Machine(monkeypatch)

    def function() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    if not inside:  # torch itself refuses
        monkeypatch.setattr(torch.cuda, "graph", lambda *given, **more: function())
        machine.generator.recorded = True
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        cudagraph.record(function, machine.side)
    assert machine.current is machine.default and not machine.generator.recorded
    assert torch.is_autocast_cache_enabled()
