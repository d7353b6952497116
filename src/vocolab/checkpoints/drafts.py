"""Draft heads in a file beside the language model that they were trained for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vocolab.checkpoints.content import State
from vocolab.checkpoints.lm import read_lm
from vocolab.errors import VocolabError
from vocolab.lm import LanguageModel, first_codebook

HEADS = "drafts."  # how the names of their weights begin, within the model that they belong to
HALF = 1e-3  # the relative difference that an export in half precision may have


def add_drafts(lm: LanguageModel, path: str | Path) -> None:
    """Give `lm` the heads in the file of a language model, which must be the same. Raises `VocolabError` where there
    are none, or they were trained for another model.
    """
    other = first_codebook(read_lm(path)[0])
    if other is None or other.drafts is None:
        raise VocolabError("holds no draft heads", path, "train some with recipes/valle_medusa.yaml")
    own = first_codebook(lm)
    if own is None:
        raise VocolabError("the model does not predict the first codebook", "--draft", "leave it out")
    remedy = "give those that were trained for this one (model.trained in recipes/valle_medusa.yaml)"
    check_same_model(own.state_dict(), other.state_dict(), path, remedy)
    own.drafts = other.drafts.eval()


def check_same_model(
    one: State, other: State, where: object, remedy: str, what: str = "its draft heads are of another model"
) -> None:
    """Raises `VocolabError` (`what`) where two models differ in more than their draft heads and half precision."""
    one, other = _without_heads(one), _without_heads(other)
    same = one.keys() == other.keys() and all(_alike(value, other[name]) for name, value in one.items())
    if not same:
        raise VocolabError(what, where, remedy)


def _without_heads(state: State) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if HEADS not in name}


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.to(one.device).float(), rtol=HALF, atol=1e-6)
