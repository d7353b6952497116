"""Reading what `torch.save` wrote without running what a stranger may have put in it."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vocolab.errors import VocolabError


def read_torch(path: str | Path) -> dict[str, Any]:
    """The dictionary in a PyTorch file, its tensors mapped from the disk where the format allows. No code is run.

    Raises `VocolabError` where there is no such file, it is no checkpoint, it is cut short, or it wants to run code.
    """
    path = Path(path)
    content = _load(path)
    if not isinstance(content, dict):
        raise VocolabError(f"checkpoint holds a {type(content).__name__}, not a dictionary", path, "give a whole one")
    return _unwrapped({key: _unwrapped(v) if isinstance(v, dict) else v for key, v in content.items()})


def read_tensor(path: str | Path) -> torch.Tensor:
    """The tensor in a PyTorch file. No code is run. Raises `VocolabError` as `read_torch` does, or where the file holds
    anything else.
    """
    content = _load(Path(path))
    if not isinstance(content, torch.Tensor):
        raise VocolabError(f"file holds a {type(content).__name__}, not a tensor", path, "give a file of one tensor")
    return content


def _load(path: Path) -> Any:
    if not path.is_file():
        raise VocolabError("no such checkpoint", path, "check the name")
    with open(path, "rb") as file:
        start = file.read(4)
    is_zip, is_pickle = start == b"PK\x03\x04", start[:1] == b"\x80"
    if is_zip and not zipfile.is_zipfile(path):
        raise VocolabError("checkpoint is cut short", path, "copy or download it again")
    if not is_zip and not is_pickle:
        raise VocolabError("not a checkpoint", path, "give a file that vocolab fit or an official repository wrote")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # no instruction of a pickle: noise, not code
            raise VocolabError("damaged checkpoint", path, "copy or download it again") from error
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"checkpoint holds {name[1]}, not only tensors" if name else "checkpoint holds more than tensors"
        remedy = "not loaded: such a file can run any code; ask for one that holds only weights"
        raise VocolabError(what, path, remedy) from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, OSError) as error:
        raise VocolabError("damaged checkpoint", path, "copy or download it again") from error


def bare_names(names: Iterable[str]) -> list[str]:
    """The names of a model's tensors without the prefixes of torch.compile and DDP, in their order.

    `_orig_mod.` is left out wherever it stands, since parts of a model can be compiled too; `module.` where all names
    begin with it, since a model may have a part of that name.
    """
    bare = [re.sub(r"(?<![^.])_orig_mod\.", "", name) for name in names]
    while bare and all(name.startswith("module.") for name in bare):
        bare = [name.removeprefix("module.") for name in bare]
    return bare


def _unwrapped(state: dict[Any, Any]) -> dict[Any, Any]:
    """A dictionary with the `bare_names` of the tensors in it, whatever else it holds."""
    names = [key for key, value in state.items() if isinstance(key, str) and isinstance(value, torch.Tensor)]
    bare = dict(zip(names, bare_names(names), strict=True))
    return {bare.get(key, key): value for key, value in state.items()}
