"""A checkpoint as a folder in the layout of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vocolab.checkpoints.folder import NAMES, upload, write_folder
from vocolab.checkpoints.model_card import about
from vocolab.export.safetensors import read_model
from vocolab.files import check_folder, local_path


def save_pretrained(
    path: str | Path,
    folder: str | Path,
    figures: str | Path | None = None,
    licence: str = "",
    name: str = "",
    overwrite: bool = False,
    half: bool = False,
    average: str | Path | None = None,
) -> dict[str, Any]:
    """Write the model of a checkpoint as `config.json`, `model.safetensors` and `README.md`; returns its card.

    `figures`: a results.json of `vocolab evaluate`, or the metrics.csv of a run, or the folder of either. `licence`: of
    the weights, such as "MIT" or "CC-BY-4.0". `name`: OWNER/NAME, under which it will be on the hub. `path`, `half` and
    `average` as in `read_model`. Raises `VocolabError` where `folder` is not empty.
    """
    folder = local_path(folder)
    check_folder(folder, NAMES, overwrite)
    told = about(None if figures is None else local_path(figures), licence, name)
    card, state = read_model(path, half, average)
    write_folder(folder, card, state, told, overwrite)
    return card


def push_to_hub(folder: str | Path, name: str, private: bool = False) -> str:
    """Upload a folder that `save_pretrained` wrote to OWNER/NAME of the hub; returns its address."""
    return upload(local_path(folder), name, private)
