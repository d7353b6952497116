"""A vocoder that predicts a spectrogram, frame by frame, and inverts it: no upsampling, so it is fast on a CPU.

After Vocos (Siuzdak 2023, https://arxiv.org/abs/2306.00814).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vocolab.audio.stft import inverse_stft
from vocolab.errors import UsageError
from vocolab.vocoders.base import Vocoder


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a pointwise bottleneck, with a scaled residual (Liu et al. 2022, 1-D)."""

    def __init__(self, dim: int, hidden: int, kernel: int, scale: float):
        super().__init__()
        self.mix = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        mixed = self.mix(x.transpose(1, 2)).transpose(1, 2)  # (B, L, D)
        return x + self.scale * self.narrow(nn.functional.gelu(self.widen(self.norm(mixed))))


class Vocos(Vocoder):
    """ConvNeXt blocks at frame rate and an inverse-STFT head.

    `hop` divides `n_fft`, and n_fft - hop is even. Raises `UsageError` for sizes that do not fit together.
    """

    window: Tensor

    def __init__(
        self,
        in_channels: int = 1024,
        dim: int = 512,
        blocks: int = 8,
        hidden: int = 1536,
        kernel: int = 7,
        n_fft: int = 1280,
        hop: int = 320,
        sample_rate: int = 16000,
    ):
        super().__init__()
        if n_fft % hop or n_fft // hop < 2 or (n_fft - hop) % 2:
            remedy = f"take n_fft a multiple of hop, at least 2·hop, with n_fft - hop even, as {_usual_n_fft(hop)}"
            raise UsageError(f"n_fft {n_fft} does not fit hop {hop}", "Vocos", remedy)
        if kernel % 2 == 0:
            raise UsageError(f"kernel {kernel} is even", "Vocos", "take an odd one")
        self.in_channels, self.dim, self.blocks, self.hidden, self.kernel = in_channels, dim, blocks, hidden, kernel
        self.n_fft, self.hop, self.sample_rate = n_fft, hop, sample_rate
        # A sample is the sum of the frames whose windows cover it, and each of those saw `kernel` frames a convolution.
        self.context = kernel // 2 * (blocks + 1) + math.ceil((n_fft - hop) / 2 / hop)

        self.embed = nn.Conv1d(in_channels, dim, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.layers = nn.ModuleList(ConvNeXtBlock(dim, hidden, kernel, 1 / blocks) for _ in range(blocks))
        self.final_norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 2 * (n_fft // 2 + 1))
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def fitting(self, hop: int) -> str:
        return f"use for example hop: {hop}, n_fft: {_usual_n_fft(hop)}"

    def polar(self, feats: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and phase of the spectrum, each (B, L, n_fft // 2 + 1), of features (B, L, C)."""
        x = self.norm(self.embed(feats.transpose(1, 2)).transpose(1, 2))  # (B, L, D)
        for layer in self.layers:
            x = layer(x)
        log_magnitude, phase = self.head(self.final_norm(x)).float().chunk(2, dim=-1)
        # Clipped before exp: one wild value early in training would be infinite, or 0, and its gradient not a number.
        return log_magnitude.clamp(math.log(1e-20), math.log(1e2)).exp(), phase

    def spectrum(self, feats: Tensor) -> Tensor:
        """Complex spectrum (B, L, n_fft // 2 + 1) of features (B, L, C)."""
        return torch.polar(*self.polar(feats))

    def forward(self, feats: Tensor) -> Tensor:
        self.check(feats)
        return inverse_stft(self.spectrum(feats), self.window, self.hop).clamp(-1.0, 1.0)


def _usual_n_fft(hop: int) -> int:
    """Four hops; for an odd hop three, so that n_fft - hop is even."""
    return (4 - hop % 2) * hop
