"""Distances of spectra."""

from __future__ import annotations

import torch
from torch import Tensor


def mel_distance(mel: Tensor, reference: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mean absolute difference of log-mels (B, C, L) over the first lengths[b] frames of each row b, and how many
    frames those are together.
    """
    frames = min(mel.shape[-1], reference.shape[-1])
    distance = (mel[..., :frames] - reference[..., :frames]).abs().mean(1)  # (B, L)
    mask = torch.arange(frames, device=mel.device) < lengths[:, None]
    count = mask.sum()
    return (distance * mask).sum() / count, count
