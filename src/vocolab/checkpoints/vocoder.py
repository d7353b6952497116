"""Vocoders in checkpoints of this project and in official generator files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vocolab.checkpoints.content import CARD, FORMAT, State, check_format, fill, read_checkpoint, section
from vocolab.checkpoints.official import generator, load_discriminator, official_names
from vocolab.checkpoints.training import find_training, is_folder_of_training
from vocolab.errors import VocolabError
from vocolab.parts import build, check_imported
from vocolab.remote import model_file
from vocolab.vocoders import Vocoder


@dataclass
class VocoderCheckpoint:
    """A vocoder and what its file says about it: the content of the `vocolab` key.

    An official file says nothing: `encoder` is None, and so are the layers. `KNNVC` then takes the encoder's own.
    """

    vocoder: Vocoder
    meta: dict[str, Any]


def load_vocoder(path: str | Path) -> VocoderCheckpoint:
    """The vocoder in a checkpoint or export of this project or in an official generator file, in eval mode.

    `path` may also be a URL or a name of kNN-VC's release. Raises `VocolabError` where it holds none.
    """
    path = model_file(path)
    content = read_checkpoint(path)
    if CARD in content:
        return _own(content, path)
    if isinstance(content.get("generator"), dict):
        return _official(content["generator"], path)
    if "mpd" in content:
        raise VocolabError("holds discriminators, no generator", path, "give the g_ file of the same step")
    raise VocolabError("holds no vocoder", path, "give a checkpoint of vocolab fit or an official g_*.pt")


def _own(content: Mapping[str, Any], path: str | Path) -> VocoderCheckpoint:
    meta = check_format(content[CARD], path)
    state = section(content.get("state_dict", {}), "vocoder.")
    if meta.get("kind") != "vocoder" or not state:
        other = "vocolab synthesize takes this one; " if meta.get("kind") == "lm" else ""
        remedy = f"{other}give a checkpoint of a vocoder's training"
        raise VocolabError(f"holds a model of kind {meta.get('kind')!r}, no vocoder", path, remedy)
    check_imported(meta["vocoder"], path)
    vocoder = build(meta["vocoder"], Vocoder)
    fill(vocoder, state, path)
    return VocoderCheckpoint(vocoder.eval(), dict(meta))


def _official(state: State, path: str | Path) -> VocoderCheckpoint:
    vocoder = generator(official_names(state), path)
    matching = {"topk": 4, "matching_layer": None, "synthesis_layer": None}
    meta = {"format": FORMAT, "kind": "vocoder", "encoder": None, "matching": matching}
    return VocoderCheckpoint(vocoder.eval(), meta | {"sample_rate": vocoder.sample_rate, "hop": vocoder.hop})


def load_weights(module: nn.Module, path: str | Path) -> list[str]:
    """Initialise the parts of `module` from a model file, for fine-tuning; returns the names of those filled.

    An official `g_*.pt` fills `module.vocoder`, a `do_*.pt` `module.discriminator`, a folder of both fills both, a
    checkpoint of this project every child that it has weights for. Raises `VocolabError` where nothing fits or sizes
    differ.
    """
    if is_folder_of_training(path):
        return [name for file in find_training(path) for name in load_weights(module, file)]
    path = model_file(path)
    content = read_checkpoint(path)
    parts = dict(module.named_children())
    if isinstance(content.get("generator"), dict) and "vocoder" in parts:
        fill(parts["vocoder"], official_names(content["generator"]), path)
        return ["vocoder"]
    if "mpd" in content and "msd" in content and "discriminator" in parts:
        load_discriminator(parts["discriminator"], content, path)
        return ["discriminator"]
    filled = []
    for name, child in parts.items():
        state = section(content.get("state_dict", {}), f"{name}.")
        if state:
            fill(child, state, path)
            filled.append(name)
    if not filled:
        raise VocolabError(f"holds no weights for {type(module).__name__}", path, "give a checkpoint of the same kind")
    return filled
