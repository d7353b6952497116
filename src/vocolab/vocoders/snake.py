"""BigVGAN's activations: periodic, and computed at twice the rate so that they do not alias."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 12  # of the low-pass filters
REACH = 5  # samples on each side that an anti-aliased activation looks at


class Snake(nn.Module):
    """x + sin²(αx) / α, with an α for each channel that is learned as its logarithm (Ziyin et al. 2020)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        alpha = self.alpha.exp()[:, None]
        return x + (x * alpha).sin().square() / (alpha + 1e-9)


class SnakeBeta(nn.Module):
    """x + sin²(αx) / β: α decides the frequency, β the magnitude; both are learned as logarithms (Lee et al. 2023)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return x + (x * self.alpha.exp()[:, None]).sin().square() / (self.beta.exp()[:, None] + 1e-9)


class AntiAliased(nn.Module):
    """Double the rate, apply `act`, and halve the rate, with a low-pass filter both times (Lee et al. 2023, 3.3).

    A nonlinearity makes harmonics. Those above half the rate would fold back as tones that belong to no harmonic; at
    twice the rate there is room for them, and the second filter removes them.
    """

    taps: Tensor

    def __init__(self, act: nn.Module):
        super().__init__()
        self.act = act
        self.register_buffer("taps", low_pass(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return self._halve(self.act(self._double(x)))

    def _double(self, x: Tensor) -> Tensor:
        filters = (2 * self.taps).expand(x.shape[1], 1, TAPS)
        # 5 more samples at both ends, and 3 · 5 fewer at twice the rate: the output is centred on the input.
        doubled = F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), filters, stride=2, groups=x.shape[1])
        return doubled[..., 15:-15]  # (B, C, 2T)

    def _halve(self, x: Tensor) -> Tensor:
        filters = self.taps.expand(x.shape[1], 1, TAPS)
        return F.conv1d(F.pad(x, (5, 6), mode="replicate"), filters, stride=2, groups=x.shape[1])


def low_pass(taps: int = TAPS, cutoff: float = 0.25, half_width: float = 0.3) -> Tensor:
    """A windowed sinc (taps,) of sum 1 that passes frequencies below `cutoff`, in cycles a sample.

    `half_width` is that of the transition. It decides the Kaiser window's β by Kaiser's formulas, here for an
    attenuation above 50 dB.
    """
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * half_width + 7.95  # dB
    assert attenuation > 50
    window = torch.kaiser_window(taps, periodic=False, beta=0.1102 * (attenuation - 8.7))
    filtered = window * torch.sinc(2 * cutoff * (torch.arange(taps) - (taps - 1) / 2))
    return filtered / filtered.sum()
