"""Short-time Fourier transforms that are quick forwards and backwards on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def spectrogram(wav: Tensor, window: Tensor, hop: int, floor: float = 1e-5) -> Tensor:
    """Magnitudes (B, L, bins) of wav (B, T), centred with reflection: L = T // hop + 1, bins = len(window) // 2 + 1.

    No magnitude is below `floor`, where the gradient is 0. len(window) is even.
    """
    n_fft = window.shape[0]
    padded = F.pad(wav[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
    return _Magnitude.apply(padded, window, hop).clamp(min=floor)


class _Magnitude(torch.autograd.Function):
    """|rfft(frames · window)|. Its backward takes real transforms, Autograd's complex ones of twice the size."""

    @staticmethod
    def forward(ctx: Any, wav: Tensor, window: Tensor, hop: int) -> Tensor:
        """wav (B, T) -> (B, L, bins)."""
        spectrum = torch.fft.rfft(wav.unfold(-1, window.shape[0], hop) * window)
        real, imag = spectrum.real, spectrum.imag
        magnitude = (real * real).addcmul_(imag, imag).sqrt_()  # three times as fast as abs(), which guards overflow
        ctx.save_for_backward(spectrum, magnitude, window)
        ctx.shape, ctx.hop = wav.shape, hop
        return magnitude

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        spectrum, magnitude, window = ctx.saved_tensors
        scale = grad / magnitude.clamp(min=1e-20)
        scale[..., 1:-1] *= 0.5  # irfft counts every bin twice but the first and the last
        frames = torch.fft.irfft(spectrum * scale, n=window.shape[0], norm="forward") * window
        return torch.ops.aten.unfold_backward(frames, ctx.shape, 1, window.shape[0], ctx.hop), None, None


def overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Sum frames (B, L, N) placed every `hop` samples, hop dividing N: (B, (L - 1)·hop + N)."""
    batch, length, size = frames.shape
    ratio = size // hop
    pieces = frames.view(batch, length, ratio, hop)
    total = frames.new_zeros(batch, length + ratio - 1, hop)
    for r in range(ratio):
        total[:, r : r + length] += pieces[:, :, r]
    return total.view(batch, -1)


def inverse_stft(spectrum: Tensor, window: Tensor, hop: int) -> Tensor:
    """Waveform (B, L·hop) of complex spectrum (B, L, bins): frame i is centred on samples [hop·i, hop·(i+1)).

    "Same" padding, as in Vocos (Siuzdak 2023): (n_fft - hop) / 2 samples are trimmed at both ends, so L frames give
    exactly L·hop samples. `hop` divides len(window). torch.istft cannot do this:
    it wants frames centred on multiples of hop.
    """
    n_fft = window.shape[0]
    frames = torch.fft.irfft(spectrum, n=n_fft) * window  # (B, L, n_fft)
    wav = overlap_add(frames, hop)
    envelope = overlap_add(window.square().expand(1, frames.shape[1], n_fft), hop)
    trim = (n_fft - hop) // 2
    end = trim + frames.shape[1] * hop
    return wav[:, trim:end] / envelope[:, trim:end]
