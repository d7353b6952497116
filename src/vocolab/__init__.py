"""vocolab: kNN-VC vocoders and VALL-E from one set of parts. Importing this package imports nothing heavy."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "KNNVC": "vocolab.pipelines.knnvc",
    "TTS": "vocolab.pipelines.tts",
    "load_recipe": "vocolab.recipe",
    "VocolabError": "vocolab.errors",
}
__all__ = [*_LAZY, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vocolab' has no attribute {name!r}")
