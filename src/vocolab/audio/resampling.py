"""Waveforms at another sample rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
import torch
from torch import Tensor

from vocolab.audio.waveform import to_float
from vocolab.errors import VocolabError


def resample(wav: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample wav (T,) between rates in Hz (soxr, high quality); the same tensor where the rates agree."""
    if from_rate == to_rate:
        return wav
    _check(from_rate, to_rate)
    samples = soxr.resample(to_float(wav.detach().cpu()).float().numpy(), from_rate, to_rate)
    return torch.from_numpy(np.ascontiguousarray(samples)).to(wav.device)


def resampled(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Resample a waveform that comes in blocks (T,) of float32. The blocks that come out, joined, equal `resample` of
    the whole; the whole is never in memory.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    _check(from_rate, to_rate)
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _check(*rates: int) -> None:
    for rate in rates:
        if not 0 < rate < 2**31:
            raise VocolabError(f"a sample rate of {rate} Hz", "resample", "give one above 0")
