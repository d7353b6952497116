"""One ONNX file: written, and held against the model before it gets its name."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vocolab.errors import VocolabError
from vocolab.extras import required

# How far onnxruntime's numbers may be from the model's. Where the model's reach beyond 1, as logits do, it is this
# share of the largest of them, for that is what float32 can hold.
TOLERANCE = 1e-4
LARGEST = 1_900_000_000  # bytes of weights: an ONNX file holds less than 2 GiB
REMEDY = "use --format safetensors and vocolab itself"

Run = Callable[[Mapping[str, Tensor]], list[Tensor]]  # the file's outputs for inputs by name


@dataclass
class Graph:
    """What becomes a file."""

    module: nn.Module  # in eval; `forward` takes the inputs by name
    example: dict[str, Tensor]  # an input of each name, every varying axis of another size than 0 and 1
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]  # of inputs and outputs: the axes that vary, with their names
    pairs: Callable[[Run], Iterator[tuple[Tensor, Tensor]]]  # what the file gives, and what the model gives


def check_packages(where: object) -> None:
    """Raise `VocolabError` where a package that writes or runs ONNX files is missing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        with required(package, where):
            __import__(package)


def write_graph(graph: Graph, path: Path, card: str, where: object) -> float:
    """Write `path`, with `card` in its metadata under `vocolab`; returns the largest difference from the model, as
    `TOLERANCE` counts it.

    Raises `VocolabError`, naming `where`, for a model that ONNX cannot express or whose file computes something else.
    """
    size = sum(p.numel() * p.element_size() for p in (*graph.module.parameters(), *graph.module.buffers()))
    if size > LARGEST:
        raise VocolabError(f"{size / 1e9:.1f} GB of weights, an ONNX file holds 2", where, REMEDY)
    with _quiet(), torch.no_grad():
        program = _program(graph, where)
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        assert value.shape is not None
        for axis, name in graph.axes.get(value.name or "", {}).items():
            value.shape[axis] = name
    program.model.metadata_props["vocolab"] = card
    program.save(str(path))
    return _check(graph, path, where)


def _program(graph: Graph, where: object) -> torch.onnx.ONNXProgram:
    dynamic = {name: {axis: torch.export.Dim.DYNAMIC for axis in graph.axes.get(name, {})} for name in graph.example}
    try:
        # Deferred: that one length is at most another is a matter of the caller, not a fact about the graph.
        exported = torch.export.export(
            graph.module.eval(),
            (),
            graph.example,
            dynamic_shapes=dynamic,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        program = torch.onnx.export(
            exported,
            (),
            kwargs=graph.example,
            input_names=list(graph.example),
            output_names=list(graph.outputs),
            dynamo=True,
            verbose=False,
        )
    except Exception as error:  # torch's exporters raise all kinds, and their reasons are pages
        name = type(graph.module).__name__
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
        raise VocolabError(f"{name} cannot be written as ONNX ({first})", where, REMEDY) from error
    assert program is not None
    return program


def _check(graph: Graph, path: Path, where: object) -> float:
    """The largest difference; see `write_graph`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        found = session.run(list(graph.outputs), {name: value.numpy() for name, value in inputs.items()})
        return [torch.from_numpy(np.asarray(value)) for value in found]

    largest = 0.0
    with torch.no_grad():
        for found, expected in graph.pairs(run):
            same = found.shape == expected.shape and torch.equal(found.isinf(), expected.isinf())
            difference = _difference(found, expected) if same else float("inf")
            if not difference <= TOLERANCE:
                what = f"onnxruntime is {difference:.1e} from the model, more than {TOLERANCE:g}"
                raise VocolabError(what, where, REMEDY)
            largest = max(largest, difference)
    return largest


def _difference(found: Tensor, expected: Tensor) -> float:
    finite = expected.isfinite()
    largest = expected[finite].abs().max().clamp(min=1.0)
    return float((found - expected)[finite].abs().max() / largest)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks: about packages that are not needed, and about their own age."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
