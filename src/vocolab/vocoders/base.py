"""What every vocoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Vocoder(nn.Module, ABC):
    """Features (B, L, in_channels) -> waveform (B, L·hop) in [-1, 1] at `sample_rate` Hz."""

    in_channels: int
    hop: int
    sample_rate: int
    context: int  # frames on each side that decide a sample: chunks with this much context equal the whole

    @abstractmethod
    def forward(self, feats: Tensor) -> Tensor:
        """Vocode features (B, L, C) to waveform (B, L·hop)."""
