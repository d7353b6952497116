"""Speech to measure."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from vocolab import audio


@pytest.fixture(scope="session")
def speech(speech_file: Path) -> Tensor:
    """Three seconds (T,) of real speech at 16 kHz."""
    return audio.read(speech_file, 16000, seconds=3)[0]
