"""The text to put into a bug report: versions, devices, and the last error of a command on this machine."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from vocolab import __version__
from vocolab.extras import EXTRAS
from vocolab.files import atomic

PACKAGES = (
    *("torch", "torchaudio", "lightning", "jsonargparse", "omegaconf", "numpy", "soundfile", "soxr", "safetensors"),
    *("webdataset", "tensorboard", *EXTRAS),
)


def describe() -> str:
    """The text of `vocolab --version --verbose`. torch is imported for the devices; of the other packages only the
    versions are read.
    """
    lines = [f"vocolab {__version__}", f"python {platform.python_version()}", f"platform {platform.platform()}"]
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{package} {importlib.metadata.version(package)}")
    lines += [f"device {device}" for device in _devices()]
    return "\n".join([*lines, "", *_last_error()])


def _devices() -> list[str]:
    try:
        import torch
    except Exception as error:  # a broken installation is what a report may be about
        return [f"unknown: torch does not import ({error})"]
    found = [f"cpu, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index}, {card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _last_error() -> list[str]:
    try:
        path = error_file()
        return [f"last error ({_without_home(str(path))}):", path.read_text(encoding="utf-8").rstrip()]
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return ["last error: none"]


def error_file() -> Path:
    """Where the last error is kept: in the user's folder for the state of programs."""
    home = Path.home()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return folder / "vocolab" / "last_error.txt"


def remember(arguments: Sequence[str], error: BaseException) -> None:
    """Write the traceback of a command's error and its command line over those of the error before.

    Where the file cannot be written, nothing is kept, and nothing is said.
    """
    with contextlib.suppress(Exception):
        now = datetime.datetime.now(datetime.UTC)
        text = f"{now:%Y-%m-%d %H:%M} UTC, vocolab {__version__}\n$ {shlex.join(['vocolab', *arguments])}\n"
        text += "".join(traceback.format_exception(error))
        with atomic(error_file()) as temporary:
            temporary.write_text(_without_home(text), encoding="utf-8")


def _without_home(text: str) -> str:
    """`text` with the user's home folder, and so the user's name, as `~`."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
