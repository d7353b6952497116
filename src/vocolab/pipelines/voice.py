"""The frames of a voice: those that are compared, those that are spoken, and how they are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vocolab import rng
from vocolab.errors import VocolabError
from vocolab.matching import Pool
from vocolab.precision import full_precision


@dataclass(frozen=True)
class Voice:
    """Frames of a target speaker: what is compared, and what is spoken. One tensor twice where the layers agree."""

    matching: Tensor  # (N, C)
    synthesis: Tensor  # (N, C')

    def __post_init__(self) -> None:
        if len(self.matching) != len(self.synthesis):
            what = f"{len(self.synthesis)} frames to speak for {len(self.matching)} to compare"
            raise VocolabError(what, "synth_set", "give one for each of matching_set")

    @cached_property
    def pool(self) -> Pool:
        """The matching frames with their norms, measured once for all utterances."""
        if self.synthesis is not self.matching:
            as_features(self.synthesis, "synth_set", 2)
        with full_precision():
            return Pool(as_features(self.matching, "matching_set", 2))

    def to(self, device: str | torch.device) -> Voice:
        """The voice on a device; itself if it is there."""
        matching = self.matching.to(device)
        if matching is self.matching:
            return self
        return Voice(matching, matching if self.synthesis is self.matching else self.synthesis.to(device))

    def chosen(self, limit: int, seed: int = 0) -> Voice:
        """At most `limit` of its frames; see `Gathering`."""
        if len(self.matching) <= limit:
            return self
        gathering = Gathering(limit, seed)
        gathering.add([self.matching] if self.synthesis is self.matching else [self.matching, self.synthesis])
        return gathering.voice()


class Gathering:
    """The frames of a voice, as they come from the encoder; of more than `limit`, a random choice of so many.

    Every frame is as likely to be in it as any other (reservoir sampling: Vitter 1985, algorithm R). What frame n draws
    is a function of n and the seed, so pieces of any size give the same choice, and no more than `limit` frames are
    kept.
    """

    def __init__(self, limit: int | None = None, seed: int = 0):
        self.limit, self.seed, self.seen = limit, seed, 0
        self._pieces: list[list[Tensor]] = []  # without a limit: every piece, a tensor a layer
        self._kept: list[Tensor] = []  # with one: (limit, C), a tensor a layer

    def add(self, layers: Sequence[Tensor]) -> None:
        """Take the next frames (L, C) of each layer."""
        numbers = np.arange(self.seen, self.seen + len(layers[0]))
        self.seen += len(numbers)
        if self.limit is None:
            self._pieces.append(list(layers))
            return
        if not self._kept:
            self._kept = [feats.new_empty(self.limit, feats.shape[1]) for feats in layers]
        drawn = rng.draw(numbers, numbers + 1, rng.mix(self.seed))
        places = np.where(numbers < self.limit, numbers, drawn)
        # Of several frames that draw one place, the last stays.
        rows = {int(place): row for row, place in enumerate(places) if place < self.limit}
        for kept, feats in zip(self._kept, layers, strict=True):
            kept[list(rows)] = feats[list(rows.values())]

    def voice(self) -> Voice:
        """What was gathered, which is then gone from here: one layer's frames, or two layers'."""
        if not self.seen:
            raise VocolabError("no reference speech", "--ref", "name at least one file")
        layers = [kept[: self.seen] for kept in self._kept]
        self._kept = []
        while self._pieces and self._pieces[0]:  # layer by layer, each freed where it is joined
            layers.append(torch.cat([piece.pop(0) for piece in self._pieces]))
        return Voice(layers[0], layers[-1])


def as_features(given: Tensor | np.ndarray, name: str, dims: int) -> Tensor:
    """Features that a user gave, as float32 of `dims` axes. Raises `VocolabError` for another number of axes, and where
    there is none or one is not finite.
    """
    feats = torch.as_tensor(given).float()
    if feats.ndim != dims:
        wanted = "(L, C)" if dims == 2 else "(B, L, C)"
        raise VocolabError(f"features of shape {tuple(feats.shape)}", name, f"give {wanted}")
    if feats.numel() == 0:
        raise VocolabError("no features", name, "give at least one frame")
    if not all(bool(rows.isfinite().all()) for rows in feats.split(2**14)):
        raise VocolabError("features that are not finite", name, "check what made them")
    return feats
