"""Voices as files: the frames of a reference, and the encoder and layers they came from, which are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file

from vocolab.errors import VocolabError
from vocolab.files import atomic
from vocolab.parts import describe
from vocolab.pipelines import KNNVC, Voice


def save_voice(path: Path, voice: Voice, vc: KNNVC, exact: bool = False) -> None:
    """Write a voice as safetensors: its frames in half precision, unless they are to be `exact`. Raises `VocolabError`
    where the disk refuses.
    """
    layers = {"matching": voice.matching}
    if voice.synthesis is not voice.matching:
        layers["synthesis"] = voice.synthesis
    frames = {name: (feats if exact else feats.half()).cpu().contiguous() for name, feats in layers.items()}
    with atomic(path) as temporary:
        save_file(frames, temporary, {"vocolab": json.dumps(_identity(vc), sort_keys=True)})


def load_voice(path: Path, vc: KNNVC) -> Voice:
    """Read a voice. Raises `VocolabError` where the file is no voice, or was made with another encoder or other
    layers.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            identity = json.loads((file.metadata() or {})["vocolab"])
            frames = {name: file.get_tensor(name).float().to(vc.device) for name in file.keys()}
        matching = frames["matching"]
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise VocolabError("not a voice", path, "give a file that --save-voice wrote") from error
    differing = [key for key, value in _identity(vc).items() if identity.get(key) != value]
    if differing:
        raise VocolabError(f"the voice was made with another {differing[0]}", path, "make it again with --save-voice")
    return Voice(matching, frames.get("synthesis", matching))


def _identity(vc: KNNVC) -> dict[str, Any]:
    """What decides the numbers of a voice. Where the encoder's weights lie does not."""
    encoder = None
    if vc.encoder is not None:
        encoder = _without_places(describe(vc.encoder)) | vc.encoder.fingerprint()
    return {"encoder": encoder, "matching layer": vc.matching_layer, "synthesis layer": vc.synthesis_layer}


def _without_places(description: Any) -> Any:
    """A description without the paths of weights, its own and those of parts within."""
    if not isinstance(description, dict):
        return description
    return {key: _without_places(value) for key, value in description.items() if key != "checkpoint"}
