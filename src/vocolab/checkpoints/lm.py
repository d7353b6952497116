"""Language models of codes in checkpoints of this project, with the codec whose codes they speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocolab.checkpoints.content import CARD, State, check_format, fill, read_checkpoint, section
from vocolab.checkpoints.vocoder import load_vocoder
from vocolab.codecs import Codec
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import LanguageModel, Sampling
from vocolab.parts import build, check_imported
from vocolab.vocoders.base import Vocoder


@dataclass
class LMCheckpoint:
    """A language model, its codec, and what their file says about them: the content of the `vocolab` key."""

    lm: LanguageModel
    codec: Codec
    meta: dict[str, Any]
    sampling: Sampling  # how it is to be sampled


def load_lm(path: str | Path, codec: str | Path | Vocoder | None = None) -> LMCheckpoint:
    """The language model in a checkpoint or export of this project, in eval mode, with its codec ready.

    `codec`: the file of the codec's weights, instead of the one the checkpoint names; or a vocoder or the file of one,
    for a codec that was trained without. Raises `VocolabError` where `path` holds no language model, the codec's
    weights are missing, or they are not those it was trained with.
    """
    lm, meta, state = read_lm(path)
    ready = _codec(meta, state, path, codec)
    return LMCheckpoint(lm.eval(), ready, dict(meta), stated_sampling(meta, path))


def read_lm(path: str | Path) -> tuple[LanguageModel, dict[str, Any], State]:
    """The language model in a file, its card, and all weights of the file."""
    content = read_checkpoint(path)
    meta, state = lm_card(content, path), content.get("state_dict", {})
    check_imported([meta["lm"], meta["codec"], meta["text"]], path)
    lm = build(meta["lm"], LanguageModel)
    fill(lm, section(state, "lm."), path)
    return lm, meta, state


def lm_card(content: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The card in the content of a model file. Raises `VocolabError` where the file holds no language model."""
    if CARD not in content or content[CARD].get("kind") != "lm":
        vocoder = "generator" in content or content.get(CARD, {}).get("kind") == "vocoder"
        what = "holds a vocoder, no language model" if vocoder else "holds no language model"
        also = "vocolab convert takes this one; " if vocoder else ""
        raise VocolabError(what, path, f"{also}give a checkpoint of a language model's training")
    return check_format(content[CARD], path)


def stated_sampling(card: dict[str, Any], where: object) -> Sampling:
    """The sampling that a card states; what it leaves out, as older versions left out all, has the default."""
    try:
        return Sampling(**card.get("sampling", {}))
    except TypeError as error:
        raise VocolabError(f"unknown sampling ({error})", where, "update vocolab") from error


def _codec(meta: dict[str, Any], state: State, path: str | Path, given: str | Path | Vocoder | None) -> Codec:
    """The codec that the card describes, with the weights that the checkpoint holds, or else those it names."""
    described = meta["codec"]  # a vocoder that the codec received is described inside
    arguments = described["init_args"]
    lacks_vocoder = "vocoder" in arguments and not isinstance(arguments["vocoder"], dict)
    if isinstance(given, Vocoder) and not lacks_vocoder:
        raise UsageError("the codec of the checkpoint takes no vocoder", "codec", "leave it out")
    if given is not None and "checkpoint" in arguments:
        described = {**described, "init_args": {**arguments, "checkpoint": str(given)}}
    elif given is not None and not lacks_vocoder:
        raise UsageError("the checkpoint holds its codec", "--codec", "leave it out")
    codec = held_codec({"codec": described}, state, path)
    if given is not None and lacks_vocoder:
        codec.receive(given if isinstance(given, Vocoder) else load_vocoder(given).vocoder)
    try:
        codec.load()
    except VocolabError as error:
        if given is None and "checkpoint" in described["init_args"]:
            raise VocolabError(
                error.what, error.where, "say with --codec PATH where the codec's weights lie"
            ) from error
        raise
    _check_fingerprint(codec, {k: v for k, v in described.items() if k not in ("class_path", "init_args")}, path, given)
    return codec.eval()


def held_codec(meta: Mapping[str, Any], state: State, path: str | Path) -> Codec:
    """The codec that a card describes, with the weights that the model file holds; those of other files are not read
    yet.
    """
    codec = build(meta["codec"], Codec)
    if held := section(state, "codec."):
        fill(codec, held, path)
    return codec


def _check_fingerprint(
    codec: Codec, expected: dict[str, Any], path: str | Path, given: str | Path | Vocoder | None
) -> None:
    found = codec.fingerprint()
    differing = [key for key, value in expected.items() if key in found and found[key] != value]
    if differing:
        key = differing[0]
        raise VocolabError(
            f"another codec ({key} {str(found[key])[:12]}) than the model was trained with ({str(expected[key])[:12]})",
            path if given is None else given,
            "its codes would mean other sounds: give the codec of the training with --codec PATH",
        )
