"""Speech put together of parts without a click: each is trimmed to what is heard, faded, and followed by a pause."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

QUIET = 40.0  # dB below the loudest window: speech begins and ends where it is louder
WINDOW = 0.01  # s
MARGIN = 0.05  # s kept around what is heard: the breath before a word, the end of an s
FADE = 0.02  # s at both ends, inside the margin


def trimmed(wav: Tensor, sample_rate: int) -> Tensor:
    """wav (T,) from shortly before it is first heard to shortly after it is last heard, faded in and out, so that
    silence can stand on both sides. Silence as a whole has no samples left.
    """
    window = max(1, round(WINDOW * sample_rate))
    level = F.pad(wav, (0, -len(wav) % window)).view(-1, window).square().mean(1)  # (windows,)
    heard = (level > level.max() * 10 ** (-QUIET / 10)).nonzero()[:, 0] if len(level) else level
    if not len(heard):
        return wav[:0]
    margin = round(MARGIN * sample_rate)
    start, end = int(heard[0]) * window - margin, (int(heard[-1]) + 1) * window + margin
    fade = round(FADE * sample_rate)
    return faded(wav[max(0, start) : end], fade, fade)


def faded(wav: Tensor, rising: int, falling: int) -> Tensor:
    """A copy of wav (T,) that rises from silence in its first `rising` samples and falls to it in its last `falling`;
    in half of wav at most.
    """
    wav, half = wav.clone(), len(wav) // 2
    rising, falling = min(rising, half), min(falling, half)
    wav[:rising] *= _ramp(rising, wav)
    wav[len(wav) - falling :] *= _ramp(falling, wav).flip(0)
    return wav


def _ramp(samples: int, like: Tensor) -> Tensor:
    """From 0 to 1, (samples,)."""
    return (1 - torch.cos(torch.linspace(0, math.pi, samples, device=like.device))) / 2


def followed(wav: Tensor, sample_rate: int, pause: float) -> Tensor:
    """wav (T,) and `pause` seconds of silence."""
    return F.pad(wav, (0, round(pause * sample_rate)))
