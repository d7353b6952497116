"""Reading what `torch.save` wrote without running what a stranger may have put in it."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from vocolab.errors import VocolabError


def read_torch(path: str | Path) -> dict[str, Any]:
    """The dictionary in a PyTorch file, its tensors mapped from the disk where the format allows. No code is run.

    Raises `VocolabError` where there is no such file, it is no checkpoint, it is cut short, or it wants to run code.
    """
    path = Path(path)
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
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # no instruction of a pickle: noise, not code
            raise VocolabError("damaged checkpoint", path, "copy or download it again") from error
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"checkpoint holds {name[1]}, not only tensors" if name else "checkpoint holds more than tensors"
        remedy = "not loaded: such a file can run any code; ask for one of weights alone"
        raise VocolabError(what, path, remedy) from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, OSError) as error:
        raise VocolabError("damaged checkpoint", path, "copy or download it again") from error
    if not isinstance(content, dict):
        raise VocolabError(f"checkpoint holds a {type(content).__name__}, not a dictionary", path, "give a whole one")
    return content
