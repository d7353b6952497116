"""Import torchaudio where its native extension cannot load.

torchaudio's wheel links CUDA; beside a CPU-only torch its import ends in an OSError, and takes transformers and encodec
with it, which import torchaudio when they find it. The parts used here are pure Python, so they work without the
extension.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from types import ModuleType

from vocolab.errors import VocolabError


def torchaudio() -> ModuleType:
    """The torchaudio module. Call this before the first import of torchaudio, transformers or encodec."""
    try:
        return importlib.import_module("torchaudio")
    except (OSError, RuntimeError) as error:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _no_extension()
        try:
            return importlib.import_module("torchaudio")
        except Exception:
            raise VocolabError(
                "torchaudio does not import", error, "install the torchaudio that fits your torch"
            ) from error


def _no_extension() -> ModuleType:
    """A stand-in for `torchaudio._extension` that states: nothing native is here."""
    extension = types.ModuleType("torchaudio._extension")
    vars(extension).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_RIR_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=lambda function: function,
        lazy_import_sox_ext=contextlib.nullcontext,
    )
    return extension
