"""Loudness, and the silence at both ends of a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vocolab import _compat
from vocolab.audio.resampling import resampled
from vocolab.audio.waveform import to_float

PEAK = -1.0  # dBTP: what EBU R 128 allows, so that no converter or codec that follows clips
OVERSAMPLING = 4  # of BS.1770-4, annex 2
BLOCK, STEP = 0.4, 0.1  # s: the gating blocks of BS.1770-4 overlap by three quarters
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LKFS; LU from the mean of the blocks that pass the absolute gate
PIECE = 600  # gating blocks measured at once, a minute: an hour's spectrum would take gigabytes
OFFSET = -0.691  # dB: what makes a full-scale tone of 997 Hz read -3.01 LKFS


@dataclass(frozen=True)
class Level:
    """A waveform at a loudness, and what was done to bring it there."""

    wav: Tensor  # (T,)
    gain: float  # dB; −inf where wav was replaced by silence
    note: str  # why wav is not as loud as was asked for; empty where it is


def loudness(wav: Tensor, sample_rate: int) -> float:
    """Gated loudness of wav (T,) in LKFS (ITU-R BS.1770-4); −inf for silence and for less than one block of 0.4 s.

    The filters' rounded constants are torchaudio's, as in kNN-VC: within 0.05 dB of the standard's.
    """
    energy = _energy(wav, sample_rate)
    return _mean_level(energy[_heard(energy)])


def true_peak(wav: Tensor, sample_rate: int) -> float:
    """Largest value of wav (T,) between the samples too, in dB of full scale (ITU-R BS.1770-4, annex 2); −inf for
    silence.
    """
    if wav.numel() == 0:
        return -math.inf
    wav = to_float(wav)
    peak = max(float(wav.max()), -float(wav.min()))  # the resampler removes frequencies close to half the rate
    blocks = (block.numpy() for block in wav.detach().cpu().float().split(60 * sample_rate))
    for dense in resampled(blocks, sample_rate, OVERSAMPLING * sample_rate):
        peak = max(peak, float(np.abs(dense).max(initial=0)))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def normalize_loudness(
    wav: Tensor, sample_rate: int, target: float, source: Tensor | None = None, source_rate: int | None = None
) -> Level:
    """Bring wav (T,) to `target` LKFS by one gain, which lets the true peak reach −1 dB and no more.

    `source` (T',) at `source_rate` Hz (default: `sample_rate`): the speech that wav was made from. The loudness of wav
    is then measured where the source is heard, so that noise in its pauses counts for nothing; and wav becomes silence
    where the whole source is silent. Without it, what is too quiet to measure comes back unchanged, and so does what is
    too short.
    """
    energy = _energy(wav, sample_rate)
    heard = _heard(energy)
    if source is not None:
        # Padded, so that a source of less than a block has one.
        rate = source_rate or sample_rate
        padded = F.pad(source, (0, max(0, round(BLOCK * rate) - len(source))))
        spoken = _heard(_energy(padded, rate))
        if not spoken.any():
            return Level(torch.zeros_like(wav), -math.inf, "silent, as the source is")
        # Which block of the source each block of wav comes from: wav may have been stretched.
        heard = spoken[torch.arange(len(energy)) * len(spoken) // len(energy)]
    current = _mean_level(energy[heard])
    if math.isinf(current):
        return Level(wav, 0.0, "left as loud as it is: too quiet or too short to measure")
    return _scaled(wav, sample_rate, target, target - current)


def _scaled(wav: Tensor, sample_rate: int, target: float, gain: float) -> Level:
    """wav with the gain, in dB, or with the highest that keeps its true peak at `PEAK`."""
    most = PEAK - true_peak(wav, sample_rate)
    note = ""
    if gain > most:
        note = f"{target - gain + most:.1f} LKFS, not {target:g}: louder, its true peak would pass {PEAK:g} dB"
        gain = most
    return Level(to_float(wav) * 10 ** (gain / 20), gain, note)


def _energy(wav: Tensor, sample_rate: int) -> Tensor:
    """Mean square (blocks,) of the weighted wav (T,) in each gating block; no blocks where wav is shorter."""
    block, step = round(BLOCK * sample_rate), round(STEP * sample_rate)
    if wav.shape[-1] < block:
        return torch.zeros(0, dtype=torch.double, device=wav.device)
    energies, count = [], (wav.shape[-1] - block) // step + 1
    for first in range(0, count, PIECE):
        start, end = first * step, (min(first + PIECE, count) - 1) * step + block
        context = min(start, sample_rate)  # a second, in which the filter forgets where the piece began
        weighted = _k_weighted(to_float(wav[start - context : end]).double(), sample_rate)[context:]
        energies.append(weighted.square().unfold(-1, block, step).mean(-1))
    return torch.cat(energies)


def _heard(energy: Tensor) -> Tensor:
    """Which blocks pass both gates of BS.1770-4 (blocks,)."""
    level = OFFSET + 10 * energy.clamp(min=1e-30).log10()
    passed = level > ABSOLUTE_GATE
    return passed & (level > _mean_level(energy[passed]) + RELATIVE_GATE)


def _mean_level(energy: Tensor) -> float:
    """Loudness in LKFS of all blocks with these mean squares; −inf without blocks."""
    return OFFSET + 10 * math.log10(float(energy.mean())) if len(energy) and float(energy.sum()) > 0 else -math.inf


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
    n_fft = wav.shape[-1] + sample_rate
    omega = torch.linspace(0, math.pi, n_fft // 2 + 1, dtype=wav.dtype, device=wav.device) * (2 * (n_fft // 2) / n_fft)
    z = torch.exp(-1j * omega)  # z^-1
    response = 1
    for b, a in (_high_shelf(sample_rate, 4.0, 1500.0, 1 / math.sqrt(2)), _high_pass(sample_rate, 38.0, 0.5)):
        response = response * (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)
    return torch.fft.irfft(torch.fft.rfft(wav, n_fft) * response, n_fft)[..., : wav.shape[-1]]


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
