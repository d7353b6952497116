"""What a batch holds, and the kinds of batches a recipe may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class SpeechBatch:
    """Samples padded on the right. A field is None where the shards do not hold it."""

    audio: Tensor  # (B, T) float32 in [-1, 1)
    audio_lengths: Tensor  # (B,) samples
    feats: Tensor | None = None  # (B, L, C) float32 once on the device
    codes: Tensor | None = None  # (B, K, L) int64
    lengths: Tensor | None = None  # (B,) frames
    keys: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
