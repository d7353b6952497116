"""A model as one safetensors file that PyTorch loads anywhere: weights, and all that inference needs to know."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocolab.checkpoints import fill, load_vocoder, read_checkpoint, section
from vocolab.checkpoints.content import CARD, DEEPSPEED_TAG, check_format, refused_folder
from vocolab.checkpoints.folder import signed, write_safetensors
from vocolab.checkpoints.official import unfolded
from vocolab.codecs import Codec
from vocolab.errors import VocolabError
from vocolab.extras import required
from vocolab.files import check_absent, local_path
from vocolab.lm import LanguageModel
from vocolab.parts import build, check_imported, describe
from vocolab.remote import model_file
from vocolab.vocoders import Vocoder


def export_safetensors(
    path: str | Path,
    output: str | Path,
    overwrite: bool = False,
    half: bool = False,
    average: str | Path | None = None,
) -> dict[str, Any]:
    """Write the model of a checkpoint as safetensors; returns the card that the file's metadata holds as JSON under
    `vocolab`. For the arguments and the errors see `read_model`; also raises `VocolabError` where `output` exists, or
    the disk refuses.
    """
    output = local_path(output)
    check_absent(output, overwrite)
    card, state = read_model(path, half, average)
    write_safetensors(output, card, state, overwrite)
    return card


def read_model(
    path: str | Path, half: bool = False, average: str | Path | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card and the weights of an export. `path`: a checkpoint of a vocoder or a language model, an official
    vocoder, or a folder that DeepSpeed wrote.

    `half`: weights in half precision, for a file half as large; they are read back as fp32. `average`: another
    checkpoint of the same vocoder, from whose weights the training of the first began; the mean of both is written,
    which is often better than either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").

    A language model's card says how it is built, its symbols and languages, its codec with the fingerprint and the
    licence of the codec's weights, and the statistics of its training. Raises `VocolabError` where `path` holds no
    model.
    """
    path = model_file(path)
    other = None if average is None else load_vocoder(average).vocoder
    content = consolidate(path) if path.is_dir() else read_checkpoint(path)
    if content.get(CARD, {}).get("kind") == "lm":
        if other is not None:
            raise VocolabError("a language model, and only vocoders are averaged", path, "leave out --average")
        card, state = _language_model(content, path)
    else:
        loaded = load_vocoder(path)
        card = {**loaded.meta, "vocoder": describe(loaded.vocoder)}
        weights = loaded.vocoder.state_dict() if other is None else _mean(loaded.vocoder, other, average)
        state = {f"vocoder.{key}": value for key, value in unfolded(weights, loaded.vocoder).items()}
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    return signed(card), state


def _mean(first: Vocoder, second: Vocoder, where: object) -> dict[str, Tensor]:
    """The mean of the weights of two vocoders. Raises `VocolabError` where they are not built alike."""
    if describe(first) != describe(second):
        raise VocolabError("another vocoder, or one of other sizes", where, "give a checkpoint of the same training")
    other = second.state_dict()
    return {
        key: (value + other[key]) / 2 if value.is_floating_point() else value
        for key, value in first.state_dict().items()
    }


def _language_model(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card and the weights of a language model. Raises `VocolabError` where they do not fit each other."""
    card = dict(check_format(content[CARD], path))
    check_imported([card["lm"], card["codec"]], path)
    state = content.get("state_dict", {})
    fill(build(card["lm"], LanguageModel), section(state, "lm."), path)
    card["codec_licence"] = build(card["codec"], Codec).licence
    return card, {key: value for key, value in state.items() if key.startswith(("lm.", "codec."))}


def consolidate(folder: Path) -> dict[str, Any]:
    """The checkpoint in a folder that DeepSpeed wrote, its weights put together from all ranks in fp32.

    Needs the package `deepspeed`, whose reader runs code that the files contain: give it folders of your own runs only.
    Raises `VocolabError` where DeepSpeed did not write the folder, or parts of it are missing.
    """
    tag = folder / DEEPSPEED_TAG
    if not tag.is_file():
        raise refused_folder(folder)
    with required("deepspeed", folder), contextlib.redirect_stdout(sys.stderr):  # importing DeepSpeed prints lines
        from deepspeed.utils import zero_to_fp32
    parts = folder / tag.read_text().strip()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            state = zero_to_fp32.get_fp32_state_dict_from_zero_checkpoint(str(folder))
            model_file = zero_to_fp32.get_model_state_files(str(parts))[0]
        content = torch.load(model_file, map_location="cpu", weights_only=False)
    except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
        raise VocolabError(f"cannot be put together ({error})", folder, "copy the whole folder again") from error
    # Lightning before 2.1 wrapped the module.
    return {**content, "state_dict": {key.removeprefix("_forward_module."): value for key, value in state.items()}}
