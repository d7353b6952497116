"""Short-time Fourier transforms that are quick forwards and backwards on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def spectrogram(wav: Tensor, window: Tensor, hop: int, floor: float = 1e-9) -> Tensor:
    """Magnitudes (B, L, bins) of wav (B, T), centred with reflection: L = T // hop + 1, bins = len(window) // 2 + 1.

    `floor` is added to the power: the gradient of a silent bin stays finite.
    """
    n_fft = window.shape[0]
    padded = F.pad(wav[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
    spectrum = torch.fft.rfft(padded.unfold(-1, n_fft, hop) * window)  # (B, L, bins)
    return (spectrum.real.square() + spectrum.imag.square() + floor).sqrt()


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
    exactly L·hop samples. `hop` divides len(window). torch.istft cannot: it wants centres on multiples of hop.
    """
    n_fft = window.shape[0]
    frames = torch.fft.irfft(spectrum, n=n_fft) * window  # (B, L, n_fft)
    wav = overlap_add(frames, hop)
    envelope = overlap_add(window.square().expand(1, frames.shape[1], n_fft), hop)
    trim = (n_fft - hop) // 2
    end = trim + frames.shape[1] * hop
    return wav[:, trim:end] / envelope[:, trim:end]
