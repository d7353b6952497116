"""What every vocoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from vocolab.checks import check_features
from vocolab.errors import VocolabError


class Vocoder(nn.Module, ABC):
    """Features (B, L, in_channels) -> waveform (B, L·hop) in [-1, 1] at `sample_rate` Hz.

    What holds for every vocoder:
    - A sample depends on its own frame and on `context` frames before and after it, on nothing else: not on the other
      rows of the batch, and not on frames farther away.
    - It is trained, so `forward` has gradients and all weights are in its state dict. Its constructor builds the whole
      network with random weights.
    - `forward` begins with `self.check(feats)`, which refuses what does not fit with a `VocolabError`.
    """

    in_channels: int
    hop: int
    sample_rate: int
    context: int  # frames on each side that a sample depends on: chunks with this much context equal the whole

    @abstractmethod
    def forward(self, feats: Tensor) -> Tensor:
        """Vocode features (B, L, C) to waveform (B, L·hop)."""

    def check(self, feats: Tensor) -> None:
        """Raise `VocolabError` unless feats is a floating-point tensor (B, L, in_channels) of at least one frame."""
        check_features(feats, self.in_channels, type(self).__name__)

    def fitting(self, hop: int) -> str:
        """What to write in a recipe for a vocoder of this kind with `hop` samples a frame: a remedy for an error."""
        return f"set its hop to {hop}"

    def fold(self) -> Self:
        """Compute once what every call would compute again (weight norm); return self. It cannot be undone."""
        return self

    def chunked(self, feats: Tensor, frames: int = 1000) -> Tensor:
        """`forward` in chunks of `frames` frames and their context, so that memory does not grow with the length.

        feats (B, L, C) -> (B, L·hop), equal to `self(feats)`. Raises `VocolabError` for `frames` below 1, and for
        features that do not fit or are not finite.
        """
        self.check(feats)
        if not bool(feats.isfinite().all()):
            raise VocolabError("features that are not finite", type(self).__name__, "check where they come from")
        pieces = [self(feats[:, seen])[:, kept] for seen, kept in self.chunks(feats.shape[1], frames)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def chunks(self, length: int, frames: int = 1000) -> Iterator[tuple[slice, slice]]:
        """How `chunked` cuts `length` frames: the frames that a chunk sees, and which samples of its result count."""
        if frames < 1:
            raise VocolabError("frames a chunk must be at least 1", frames)
        if length <= frames + self.context:
            frames = length
        for start in range(0, length, frames):
            left, end = max(start - self.context, 0), min(start + frames, length)
            seen = slice(left, min(end + self.context, length))
            yield seen, slice((start - left) * self.hop, (end - left) * self.hop)
