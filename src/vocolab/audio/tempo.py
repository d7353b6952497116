"""Faster and slower speech of the same pitch: overlapped waveforms (WSOLA, Verhelst and Roelands 1993).

The output is put together of windows of the input that overlap by half. Each is looked for near the place that the
speed gives it, where it is most like what would have followed the window before: so the periods of a voice go on
across the seam, and keep their length.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vocolab.errors import UsageError

SLOWEST, FASTEST = 0.5, 2.0  # beyond, windows are doubled or skipped whole
WINDOW = 0.032  # s: two periods of a voice of 62 Hz
SEARCH = 0.009  # s to both sides: together more than a period of it


def check_speed(speed: float) -> None:
    """Raise `UsageError` for a speed at which speech is not heard well."""
    if not SLOWEST <= speed <= FASTEST:
        raise UsageError(
            f"a speed of {speed:g}", "--speed", f"give {SLOWEST:g} to {FASTEST:g}; 1 is as the model speaks"
        )


def at_speed(wav: Tensor, sample_rate: int, speed: float) -> Tensor:
    """wav (T,) so many times as fast, of the same pitch: T / speed samples. At 1, wav itself."""
    check_speed(speed)
    if speed == 1 or len(wav) == 0:
        return wav
    hop = max(1, round(WINDOW * sample_rate / 2))
    search = round(SEARCH * sample_rate)
    length = round(len(wav) / speed)
    # Half a window of silence before, so that the first sample has its full weight; enough after for the last window.
    samples = np.pad(wav.detach().cpu().double().numpy(), (hop + search, 3 * hop + 2 * search))
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)  # halves that overlap sum to 1
    out = np.zeros(length + 3 * hop)
    place = search  # in `samples`, of the window that is put down next
    for start in range(0, length + hop, hop):
        out[start : start + 2 * hop] += window * samples[place : place + 2 * hop]
        nominal = search + min(round((start + hop) * speed), len(wav) + hop)
        place = nominal + _most_alike(samples, place + hop, nominal, 2 * hop, search)
    return torch.from_numpy(out[hop : hop + length]).to(wav)


def _most_alike(samples: np.ndarray, following: int, nominal: int, size: int, search: int) -> int:
    """How far from `nominal`, at most `search` to both sides, the window is that is most like the one at `following`.
    Between equals the nearest.
    """
    wanted = samples[following : following + size]
    near = samples[nominal - search : nominal + search + size]
    products = np.correlate(near, wanted)  # (2 search + 1,)
    energy = np.convolve(near * near, np.ones(size), "valid")
    alike = products / np.sqrt(np.maximum(energy, 1e-12))
    distance = np.abs(np.arange(-search, search + 1))
    return int(np.lexsort((distance, -alike))[0]) - search
