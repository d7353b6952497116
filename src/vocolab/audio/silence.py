"""The silences of a recording: where it holds nothing, and how another waveform is made silent there."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SILENCE = -60.0  # dB of full scale, of samples: a noise of -72 dB stays below it, most rooms do not
BELOW_PEAK = 50.0  # dB: in a recording that is very quiet as a whole, silence lies so far below its peak
WINDOW = 0.01  # s: two in a row hold a whole period of the lowest voice
LONGEST_PAUSE = 0.5  # s: shorter pauses belong to the speech around them
MARGIN = 0.1  # s left as it is on both sides of a silence: what a vocoder makes of a word may begin early and end late
FADE = 0.02  # s, inside the silence

Span = tuple[float, float]  # from, to, in seconds


def silences(wav: Tensor, sample_rate: int, threshold: float = SILENCE) -> list[Span]:
    """The long silences of wav (T,): more than half a second without a sample beyond `threshold` dB of full scale, or
    beyond 50 dB below the peak where that is less. A constant offset does not count.

    A margin of 0.1 s is taken off where sound ends or begins. A silence at the beginning starts at 0 and one at the end
    goes to infinity.
    """
    window = max(1, round(WINDOW * sample_rate))
    swing = _swing(wav, window)
    limit = min(10 ** (threshold / 20), float(swing.max()) * 10 ** (-BELOW_PEAK / 20))
    silent = np.concatenate([[False], (swing <= limit).numpy(), [False]])
    found = []
    for first, last in np.flatnonzero(np.diff(silent)).reshape(-1, 2):  # in windows
        start, end = first * window / sample_rate, last * window / sample_rate
        if end - start > LONGEST_PAUSE:
            found.append((start + MARGIN if first > 0 else 0.0, end - MARGIN if last < len(swing) else math.inf))
    return found


def gate(wav: Tensor, sample_rate: int, spans: list[Span], stretch: float = 1.0) -> Tensor:
    """Make wav (T,) silent in the spans, their times multiplied by `stretch`, in place; return it.

    The fades lie inside the spans: outside of them no sample changes.
    """
    for start, end in spans:
        first = min(len(wav), round(start * stretch * sample_rate))
        last = len(wav) if math.isinf(end) else min(len(wav), round(end * stretch * sample_rate))
        fade = min(round(FADE * sample_rate), (last - first) // 2)
        ramp = (1 + torch.cos(torch.linspace(0, math.pi, fade, device=wav.device))) / 2  # 1 to 0
        fall, rise = (fade if start > 0 else 0), (0 if math.isinf(end) else fade)
        wav[first : first + fall] *= ramp[:fall]
        wav[first + fall : last - rise] = 0
        wav[last - rise : last] *= ramp[:rise].flip(0)
    return wav


def _swing(wav: Tensor, window: int) -> Tensor:
    """Half the range of the samples of wav (T,) in each window (windows,)."""
    padded = F.pad(wav[None], (0, -len(wav) % window), mode="replicate")[0].view(-1, window)
    return ((padded.amax(1) - padded.amin(1)) / 2).cpu()
