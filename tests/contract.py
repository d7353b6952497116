"""What the tests of a kind of part (`test_all.py` in its folder) are held against: the parts here, or one's own.

    pytest tests/vocoders/test_all.py --part configs/vocoder/mine.yaml
    pytest tests/vocoders/test_all.py --part mymodule.MyVocoder

Each `test_all.py` has the base class of its kind, `BASE`, and `PARTS`: name -> function that makes a part, given a
folder for the files that it needs. Its tests take `make`, which makes a new one with the same weights each time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import vocolab
from vocolab import audio
from vocolab.imports import import_parts
from vocolab.parts import build, modules_of

SPEECH = sorted((Path(vocolab.__file__).parent / "assets/corpus/synth/3001").glob("*/*.opus"))


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes `make` each of the parts of its module, or those of --part that are of its kind."""
    parts = getattr(metafunc.module, "PARTS", None)
    if parts is None or "make" not in metafunc.fixturenames:
        return
    if given := metafunc.config.getoption("--part"):
        parts = own_parts(given, metafunc.module.BASE)
    metafunc.parametrize("make", parts.values(), ids=parts.keys(), indirect=True)


def own_parts(given: Sequence[str], base: type) -> dict[str, Callable[[Path], Any]]:
    """What makes the parts of type `base` that --part names."""
    return {
        described["class_path"]: lambda folder, described=described: build(described, base)
        for _, described in own_classes(given, base)
    }


def own_classes(given: Sequence[str], base: type) -> list[tuple[type, dict[str, Any]]]:
    """The classes of type `base` that --part names, and the descriptions of the parts: each is given as the value of a
    slot, as the file of one, or as a class path.
    """
    found = []
    for text in given:
        value = yaml.safe_load(Path(text).read_text() if text.endswith((".yaml", ".yml")) else text)
        described = {"class_path": value} if isinstance(value, str) else value
        import_parts(modules_of(described), "--part")
        module, _, name = described["class_path"].rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        if issubclass(cls, base):
            found.append((cls, described))
    return found


def seeded(make: Callable[[Path], Any], folder: Path) -> Callable[[], Any]:
    def made() -> Any:
        torch.manual_seed(1)
        part = make(folder)
        return part.eval() if isinstance(part, torch.nn.Module) else part

    return made


def speech(sample_rate: int, *samples: int) -> list[Tensor]:
    """Real utterances (T,), of these lengths."""
    return [audio.read(path, sample_rate)[0][2000 : 2000 + n] for path, n in zip(SPEECH, samples, strict=False)]


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows (T,) as one batch, zero-padded on the right, and their lengths."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), torch.tensor([len(row) for row in rows])
