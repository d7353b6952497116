"""Whether the codes of a model file and those of the data mean the same sounds."""

from __future__ import annotations

from typing import Any

from vocolab.codecs.base import Codec
from vocolab.errors import VocolabError
from vocolab.parts import describe
from vocolab.tasks.base import located


def described_codec(codec: Codec) -> dict[str, Any]:
    """A codec as a card describes it: how it is built, and the fingerprint of its weights."""
    return located(describe(codec)) | codec.fingerprint()


def check_codec(card: dict[str, Any], codec: Codec, where: object) -> dict[str, Any]:
    """`card` unchanged. Raises `VocolabError` where it is not that of a language model of the codes of `codec`."""
    if card.get("kind") != "lm":
        raise VocolabError("holds no language model", where, "give a checkpoint of the same kind")
    if _identity(card["codec"]) != _identity(described_codec(codec)):
        remedy = "prepare the speech with that codec"
        if learns(codec):
            remedy = "give the shards of its training with --data.shards"
        raise VocolabError("its codes are those of another codec", where, remedy)
    return card


def learns(codec: Codec) -> bool:
    """Whether the codec is fitted to the data: then it travels in the checkpoint, else the checkpoint names it."""
    return type(codec).fit is not Codec.fit


def _identity(codec: dict[str, Any]) -> dict[str, Any]:
    """What decides the meaning of a described codec's codes: its class and the fingerprint of its weights, but not the
    paths they were read from.
    """
    return {key: value for key, value in codec.items() if key != "init_args"}
