"""What a model file holds: weights by name, and the card that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vocolab.errors import VocolabError
from vocolab.remote import CONFIG, WEIGHTS, model_file
from vocolab.torchfile import bare_names, read_torch
from vocolab.weights import read_json

FORMAT = 1  # of the card
LAST = "last.ckpt"  # a run's newest checkpoint
DEEPSPEED_TAG = "latest"  # the file that DeepSpeed writes into a checkpoint's folder
CARD = "vocolab"  # its key in a checkpoint, and in a safetensors file's metadata

State = Mapping[str, Tensor]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a model file: what `torch.save` wrote, or `{"state_dict", "vocolab"}` of a safetensors export.

    `path` may also be a URL or a name of kNN-VC's release, which is fetched, or a folder in the layout of the Hugging
    Face hub (`vocolab.remote`). Tensors are mapped from the disk. Raises `VocolabError` where there is no such file, or
    it is damaged.
    """
    path = model_file(path)
    if path.is_dir():
        raise refused_folder(path)
    return _read_safetensors(path) if _is_safetensors(path) else read_torch(path)


def last_of(run: Path) -> Path:
    """The newest checkpoint of a run's folder."""
    return run / "checkpoints" / LAST


def refused_folder(folder: Path) -> VocolabError:
    """Why a folder is no checkpoint, and what to give instead."""
    inside = next((path for path in (last_of(folder), folder / LAST) if path.exists()), None)
    if (folder / DEEPSPEED_TAG).is_file():
        what = "a folder that DeepSpeed wrote"
        remedy = f"vocolab export {folder} --format safetensors -o OUT makes a file of it"
    elif inside is not None:
        what, remedy = "a run's folder, not a checkpoint", f"give {inside}"
    elif any(folder.glob("*.onnx")):
        what, remedy = "a folder of ONNX files, not a checkpoint", "give the checkpoint that they were made of"
    elif (folder / CONFIG).is_file():
        what, remedy = f"no {WEIGHTS} beside {CONFIG}", "copy or download the whole folder again"
    else:
        what, remedy = "a folder, not a checkpoint", f"give a file, or a folder that holds {CONFIG} and {WEIGHTS}"
    return VocolabError(what, folder, remedy)


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins with the length of a JSON header and the header."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and not start.startswith(b"PK")


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            card = (file.metadata() or {}).get(CARD)
            names = list(file.keys())
            state = {bare: file.get_tensor(name) for name, bare in zip(names, bare_names(names), strict=True)}
        found = None if card is None else json.loads(card)
    except (OSError, ValueError, SafetensorError) as error:
        raise VocolabError("damaged checkpoint", path, "copy or download it again") from error
    found = _config_beside(path) or found
    return {"state_dict": state} | ({} if found is None else {CARD: found})


def _config_beside(path: Path) -> dict[str, Any] | None:
    """The card in the configuration beside the weights of a folder; None where there is none, or it is of another
    program.
    """
    config = path.with_name(CONFIG)
    if path.name != WEIGHTS or not config.is_file():
        return None
    card = read_json(config)
    return card if "kind" in card else None


def check_format(card: dict[str, Any], where: object) -> dict[str, Any]:
    """`card` unchanged. Raises `VocolabError` where its format is not `FORMAT`."""
    if card.get("format") != FORMAT:
        raise VocolabError(f"checkpoint format {card.get('format')}, expected {FORMAT}", where, "update vocolab")
    return card


def fill(module: nn.Module, state: State, where: object) -> None:
    """Copy `state` into `module`. Raises `VocolabError` naming the first name or shape that differs."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    remedy = "give a file of the same architecture and sizes"
    if missing or extra:
        first = f"no {missing[0]}" if missing else f"unknown {extra[0]}"
        raise VocolabError(
            f"{len(missing)} tensors missing, {len(extra)} unknown in {type(module).__name__} ({first})", where, remedy
        )
    for key, value in own.items():
        if state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)}, expected {tuple(value.shape)}"
            raise VocolabError(f"{key} is {shapes}", where, remedy)
    module.load_state_dict(dict(state))


def section(state: State, prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
