"""Waveforms from outside: what type, shape and range their samples may have."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vocolab.errors import VocolabError

Waveform: TypeAlias = Tensor | np.ndarray
Speech: TypeAlias = str | Path | Waveform  # the path of a file, or the samples themselves

# A float waveform lies within ±1; loud music passes it by a few dB. 8 is 18 dB beyond full scale, which no recording
# reaches, while 16-bit integers that were never scaled stay below 8 only in silence (-72 dB).
LIMIT = 8.0

# By type of integer: full scale, and the value that means silence.
INTEGERS = {
    torch.uint8: (2.0**7, 128),
    torch.int8: (2.0**7, 0),
    torch.int16: (2.0**15, 0),
    torch.int32: (2.0**31, 0),
}


def to_float(wav: Tensor) -> Tensor:
    """wav (...) as floating point. Integers are scaled by their type: full scale is 1. Floats keep type and value.

    Raises `VocolabError` for a type that is no waveform's, such as int64, whose full scale nobody can know.
    """
    if wav.is_floating_point():
        return wav
    if wav.dtype not in INTEGERS:
        remedy = "give floats within ±1, or integers of 8, 16 or 32 bits"
        raise VocolabError(f"waveform of type {str(wav.dtype).removeprefix('torch.')}", "samples", remedy)
    scale, silence = INTEGERS[wav.dtype]
    return ((wav.double() - silence) / scale).float()


def check_samples(samples: Tensor, where: object) -> None:
    """Raise `VocolabError` where there are no samples (...), or they are not finite, or integers stored as floats."""
    if samples.numel() == 0:
        raise VocolabError("no samples", where, "give speech")
    low, high = (float(extreme) for extreme in torch.aminmax(samples.detach()))  # NaN where any sample is
    peak = max(-low, high)
    if not np.isfinite(low) or not np.isfinite(high):
        raise VocolabError("samples that are not finite", where, "replace it")
    if peak > LIMIT:
        what = f"samples as large as {peak:.6g}, far beyond ±1: integers stored as floats"
        raise VocolabError(what, where, "divide them by the integers' full scale, 32768 for 16 bits")


def as_waveform(speech: object, where: object = "waveform") -> Tensor:
    """Speech as the functions here take it: a tensor (T,) of float32, detached, on the device it was on.

    Takes tensors and NumPy arrays of shape (T,) or (1, T), floats or integers. Raises `VocolabError` for another
    shape or type, and where `check_samples` does.
    """
    if isinstance(speech, np.ndarray):
        try:
            # A copy in the machine's byte order: torch takes neither foreign ones nor negative strides.
            wav = torch.from_numpy(np.array(speech, dtype=speech.dtype.newbyteorder("=")))
        except TypeError as error:
            raise VocolabError(f"waveform of type {speech.dtype}", where, "give floats within ±1") from error
    elif isinstance(speech, Tensor):
        wav = speech.detach()
    else:
        remedy = "give a path, a tensor or a NumPy array"
        raise VocolabError(f"speech of type {type(speech).__name__}", where, remedy)
    if wav.ndim not in (1, 2) or (wav.ndim == 2 and wav.shape[0] != 1):
        remedy = "give one channel, (T,) or (1, T)"
        raise VocolabError(f"waveform of shape {tuple(wav.shape)}", where, remedy)
    wav = to_float(wav.reshape(-1)).float()
    check_samples(wav, where)
    return wav
