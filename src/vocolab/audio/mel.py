"""Mel filterbanks and log-mel spectrograms."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.audio.waveform import to_float
from vocolab.errors import VocolabError

HOP_SECONDS, WINDOW_SECONDS = 0.02, 0.064


def _hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above."""
    hz = np.asarray(hz, dtype=np.float64)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))


@functools.lru_cache(maxsize=16)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None) -> Tensor:
    """Triangular filters (n_mels, n_fft // 2 + 1) on Slaney's scale, each of unit area (Slaney norm). The tensor is
    shared: do not change it.
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise VocolabError(
            f"mel range {fmin}–{fmax} Hz", f"at {sample_rate} Hz", f"0 ≤ fmin < fmax ≤ {sample_rate / 2:g}"
        )
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)  # (F,)
    edges = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(fmax), n_mels + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return torch.from_numpy(np.maximum(triangles, 0) * 2 / (high - low)).float()


def reflect_pad(wav: Tensor, left: int, right: int, lengths: Tensor | None = None) -> Tensor:
    """wav (B, T) -> (B, left + T + right), mirrored at both ends; with `lengths` (B,) each row is mirrored at its own
    end.
    """
    shortest = wav.shape[-1] if lengths is None else int(lengths.min())
    if shortest <= max(left, right):
        raise VocolabError(
            f"{shortest} samples", "too short for a spectrum", f"give at least {max(left, right) + 1} samples"
        )
    if lengths is None:
        return F.pad(wav.unsqueeze(1), (left, right), mode="reflect").squeeze(1)
    position = torch.arange(-left, wav.shape[-1] + right, device=wav.device).abs()
    last = (lengths.to(wav.device) - 1)[:, None]
    position = torch.where(position <= last, position, 2 * last - position)  # (B, left + T + right)
    return wav.gather(1, position.clamp(min=0))


class LogMel(nn.Module):
    """HiFi-GAN's log-mel spectrogram (Kong et al. 2020, section 2.3): magnitudes, natural logarithm, floor 1e-5.
    Differentiable.

    Sizes that are not given are those of 16 kHz at any rate: a hop of 20 ms (320 samples), a window of 64 ms (1024; to
    the nearest multiple of 64 samples, and no shorter than the hop), mels up to half the rate (8000 Hz).

    Frame i stands for samples [hop·i, hop·(i+1)): the ends are mirrored by half of n_fft − hop, so T samples give T //
    hop frames.
    """

    window: Tensor  # (n_fft,)
    filters: Tensor  # (n_mels, n_fft // 2 + 1)

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int | None = None,
        hop: int | None = None,
        n_mels: int = 80,
        fmin: float = 0.0,
        fmax: float | None = None,
    ):
        super().__init__()
        hop = round(sample_rate * HOP_SECONDS) if hop is None else hop
        n_fft = max(64 * round(sample_rate * WINDOW_SECONDS / 64), hop) if n_fft is None else n_fft
        fmax = sample_rate / 2 if fmax is None else fmax
        self.sample_rate, self.n_fft, self.hop = sample_rate, n_fft, hop
        self.n_mels, self.fmin, self.fmax = n_mels, fmin, fmax
        if not 0 < hop <= n_fft:
            raise VocolabError(f"hop {hop}", f"with n_fft {n_fft}", "0 < hop ≤ n_fft")
        self.padding = ((n_fft - hop) // 2, n_fft - hop - (n_fft - hop) // 2)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer(
            "filters", mel_filterbank(sample_rate, n_fft, n_mels, fmin, fmax).clone(), persistent=False
        )

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """wav (..., T) -> (..., n_mels, T // hop); with `lengths`, wav is (B, T) and each row is mirrored at its own
        end.
        """
        shape = wav.shape[:-1]
        # Full precision under autocast: a bfloat16 spectrum loses everything 50 dB below its maximum.
        with torch.autocast(wav.device.type, enabled=False):
            padded = reflect_pad(to_float(wav).float().reshape(-1, wav.shape[-1]), *self.padding, lengths)
            spectrum = torch.stft(
                padded, self.n_fft, self.hop, window=self.window.float(), center=False, return_complex=True
            )  # (B, F, L)
            mel = self.filters.float() @ spectrum.abs()
            return mel.clamp(min=1e-5).log().reshape(*shape, self.n_mels, -1)


@functools.lru_cache(maxsize=4)
def _log_mel_module(
    device: torch.device,
    sample_rate: int,
    n_fft: int | None,
    hop: int | None,
    n_mels: int,
    fmin: float,
    fmax: float | None,
) -> LogMel:
    return LogMel(sample_rate, n_fft, hop, n_mels, fmin, fmax).to(device)


def log_mel(
    wav: Tensor,
    sample_rate: int = 16000,
    n_fft: int | None = None,
    hop: int | None = None,
    n_mels: int = 80,
    fmin: float = 0.0,
    fmax: float | None = None,
) -> Tensor:
    """Log-mel spectrogram of wav (..., T) as (..., n_mels, T // hop); see `LogMel`."""
    return _log_mel_module(wav.device, sample_rate, n_fft, hop, n_mels, fmin, fmax)(wav)
