"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vocolab

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def builtin_corpus() -> Path:
    """The folder of the built-in speech."""
    return Path(vocolab.__file__).parent / "assets" / "corpus"


@pytest.fixture(scope="session")
def speech_file(builtin_corpus: Path) -> Path:
    """One real utterance, Opus at 16 kHz mono."""
    return sorted(builtin_corpus.glob("synth/3001/*/*.opus"))[0]
