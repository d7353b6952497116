"""What every vocoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vocolab.errors import VocolabError


class Vocoder(nn.Module, ABC):
    """Features (B, L, in_channels) -> waveform (B, L·hop) in [-1, 1] at `sample_rate` Hz."""

    in_channels: int
    hop: int
    sample_rate: int
    context: int  # frames on each side that decide a sample: chunks with this much context equal the whole

    @abstractmethod
    def forward(self, feats: Tensor) -> Tensor:
        """Vocode features (B, L, C) to waveform (B, L·hop)."""

    def fold(self) -> Vocoder:
        """Replace what every call computes again (weight norm) by its result; return self. Not to be undone."""
        return self

    def chunked(self, feats: Tensor, frames: int = 1000) -> Tensor:
        """`forward` in chunks of `frames` frames and their context, so that memory does not grow with the length.

        feats (B, L, C) -> (B, L·hop), equal to `self(feats)`. Raises `VocolabError` for `frames` below 1.
        """
        if frames < 1:
            raise VocolabError("frames a chunk must be at least 1", frames)
        length = feats.shape[1]
        if length <= frames + self.context:
            return self(feats)
        pieces = []
        for start in range(0, length, frames):
            left, end = max(start - self.context, 0), min(start + frames, length)
            wav = self(feats[:, left : min(end + self.context, length)])
            pieces.append(wav[:, (start - left) * self.hop : (end - left) * self.hop])
        return torch.cat(pieces, dim=1)
