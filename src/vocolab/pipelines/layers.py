"""Features of several layers of an encoder as one: their sum by weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError

Weights = Tensor | np.ndarray | Sequence[float]  # one of each layer of an encoder


def by_layer(weights: Weights, encoder: Encoder) -> dict[int | None, float]:
    """The weights that are not 0, by layer. Raises `UsageError` unless there is one for each layer of the encoder."""
    name = type(encoder).__name__
    if encoder.depth is None:
        raise UsageError("no layers to weigh", name, "leave out weights")
    given = torch.as_tensor(weights, dtype=torch.float32).cpu()
    if given.shape not in ((encoder.depth + 1,), (encoder.depth + 1, 1)) or not given.isfinite().all():
        what = f"weights of shape {tuple(given.shape)}"
        raise UsageError(what, name, f"give one finite weight for each of layers 0 to {encoder.depth}")
    found: dict[int | None, float] = {layer: w for layer, w in enumerate(given.flatten().tolist()) if w}
    if not found:
        raise UsageError("weights that are all 0", name, "give one that is not")
    return found


def weighted(layers: list[Tensor], weights: list[float]) -> Tensor:
    """The sum (L, C) of layers (L, C) by their weights."""
    total = layers[0] if weights[0] == 1 else weights[0] * layers[0]
    for weight, feats in zip(weights[1:], layers[1:], strict=True):
        total = total + weight * feats
    return total
