"""Distances of spectra."""

from __future__ import annotations

import torch
from torch import Tensor

from vocolab import audio
from vocolab.errors import VocolabError
from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured


def mel_distance(mel: Tensor, reference: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mean absolute difference of log-mels (B, C, L) over the first lengths[b] frames of each row b, and how many
    frames those are together.
    """
    frames = min(mel.shape[-1], reference.shape[-1])
    distance = (mel[..., :frames] - reference[..., :frames]).abs().mean(1)  # (B, L)
    mask = torch.arange(frames, device=mel.device) < lengths[:, None]
    count = mask.sum()
    return (distance * mask).sum() / count, count


class MelL1(Metric):
    """The mean absolute difference of log-mels, as in training's `val/mel_l1`."""

    name, title, unit, better = "mel_l1", "difference of log-mel spectra", "nepers", "down"
    source = "Kong et al. 2020 (HiFi-GAN), section 2.3, mel-spectrogram loss"

    def measure(self, heard: Heard) -> Numbers:
        wav, reference = heard.aligned(heard.rate)
        try:
            mel, real = (audio.log_mel(w, heard.rate)[None] for w in (wav, reference))
        except VocolabError as error:
            raise Unmeasured(TOO_SHORT) from error
        return float(mel_distance(mel, real, torch.tensor([mel.shape[-1]]))[0]), 1.0


TOO_SHORT = "shorter than the metric's window"
