"""Loudness, and the silence at both ends of a recording."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vocolab import _compat
from vocolab.audio.waveform import to_float


def loudness(wav: Tensor, sample_rate: int) -> float:
    """Gated loudness of wav (T,) in LKFS (ITU-R BS.1770-4); −inf for silence and for less than one block of 0.4 s.

    The filters' rounded constants are torchaudio's, as in kNN-VC: within 0.05 dB of the standard's.
    """
    block, step = round(0.4 * sample_rate), round(0.1 * sample_rate)
    if wav.shape[-1] < block:
        return -math.inf
    energy = _k_weighted(to_float(wav).double(), sample_rate).square().unfold(-1, block, step).mean(-1)  # (blocks,)
    for threshold in (-70.0, None):  # absolute gate, then relative: 10 LU under what passed the first
        level = -0.691 + 10 * energy.clamp(min=1e-30).log10()
        if threshold is None:
            threshold = -0.691 + 10 * math.log10(energy.mean()) - 10
        energy = energy[level > threshold]
        if energy.numel() == 0:
            return -math.inf
    return -0.691 + 10 * math.log10(energy.mean())


def normalize_loudness(wav: Tensor, sample_rate: int, target: float) -> Tensor:
    """Scale wav (T,) to `target` LKFS, without a limiter. Silence, and what is too short to measure, comes back
    unchanged.
    """
    current = loudness(wav, sample_rate)
    return wav if math.isinf(current) else wav * 10 ** ((target - current) / 20)


def trim_silence(wav: Tensor, sample_rate: int, trigger_level: float) -> Tensor:
    """Trim wav (T,) at both ends by the SoX detector of voice activity; 0 trims nothing, 7 is usual.

    The detector trims the front, so the end is trimmed on the reversed signal (as in kNN-VC, Baas et al. 2023). Where
    it hears no voice at all, as in a fifth of a second, wav comes back unchanged.
    """
    trimmed = wav
    for _ in range(2):
        if trigger_level == 0 or trimmed.shape[-1] == 0:
            return wav
        trimmed = _compat.torchaudio().functional.vad(trimmed, sample_rate, trigger_level=trigger_level).flip(-1)
    return trimmed if trimmed.shape[-1] else wav


def _k_weighted(wav: Tensor, sample_rate: int) -> Tensor:
    """BS.1770's filter: a high shelf of 4 dB at 1.5 kHz, then a high pass at 38 Hz.

    Applied to the spectrum: both responses die out within a quarter of a second, so a second of zeros keeps the
    wrap-around below 1e-12, and no loop over samples is needed.
    """
    size = wav.shape[-1] + sample_rate
    omega = torch.linspace(0, math.pi, size // 2 + 1, dtype=wav.dtype, device=wav.device) * (2 * (size // 2) / size)
    z = torch.exp(-1j * omega)  # z^-1
    response = 1
    for b, a in (_high_shelf(sample_rate, 4.0, 1500.0, 1 / math.sqrt(2)), _high_pass(sample_rate, 38.0, 0.5)):
        response = response * (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)
    return torch.fft.irfft(torch.fft.rfft(wav, size) * response, size)[..., : wav.shape[-1]]


def _high_shelf(sample_rate: int, gain: float, centre: float, q: float) -> tuple[tuple, tuple]:
    """Biquad (b, a) of Bristow-Johnson's cookbook."""
    amplitude, w = 10 ** (gain / 40), 2 * math.pi * centre / sample_rate
    alpha, cos, root = math.sin(w) / (2 * q), math.cos(w), math.sqrt(amplitude)
    up, down = amplitude + 1, amplitude - 1
    b = (
        amplitude * (up + down * cos + 2 * root * alpha),
        -2 * amplitude * (down + up * cos),
        amplitude * (up + down * cos - 2 * root * alpha),
    )
    a = (up - down * cos + 2 * root * alpha, 2 * (down - up * cos), up - down * cos - 2 * root * alpha)
    return b, a


def _high_pass(sample_rate: int, cutoff: float, q: float) -> tuple[tuple, tuple]:
    """Biquad (b, a) of Bristow-Johnson's cookbook."""
    w = 2 * math.pi * cutoff / sample_rate
    alpha, cos = math.sin(w) / (2 * q), math.cos(w)
    return ((1 + cos) / 2, -1 - cos, (1 + cos) / 2), (1 + alpha, -2 * cos, 1 - alpha)
