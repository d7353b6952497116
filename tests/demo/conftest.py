"""A converter and a language model that are small and untrained, at work for a page."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vocolab.demo.conversion import Conversion
from vocolab.demo.limits import Limits
from vocolab.demo.speaking import Speaking


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page keeps its files."""
    made = tmp_path / "page"
    made.mkdir()
    return made


@pytest.fixture(scope="session")
def vc():
    from vocolab.encoders import Whisper
    from vocolab.pipelines import KNNVC
    from vocolab.vocoders import Vocos

    torch.manual_seed(0)
    return KNNVC(Vocos(in_channels=384, dim=16, blocks=1, hidden=16), Whisper(layer=1))


@pytest.fixture
def conversion(vc, folder: Path) -> Conversion:
    return Conversion(vc, Limits(seconds=10, voice_seconds=20, files=4), folder)


@pytest.fixture
def speaking(lm_checkpoint: Path, folder: Path) -> Speaking:
    from vocolab.pipelines import TTS

    return Speaking(TTS.from_checkpoint(lm_checkpoint), Limits(characters=60), folder)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures: they take most of the time of a small model."""
    monkeypatch.setattr("vocolab.demo.results.mel_figure", lambda mels, path, hop_seconds: path)
