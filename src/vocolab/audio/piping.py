"""Sound that is written while it is made, to a pipe."""

from __future__ import annotations

import io
import struct

from torch import Tensor

from vocolab.audio.writing import pcm16

UNKNOWN = 2**32 - 1  # bytes. The size that ffmpeg, too, states of a WAV whose end it does not know yet


class PipedWav:
    """A mono WAV (PCM16) in a pipe. Its header states no size; players, ffmpeg and soundfile read to the end."""

    def __init__(self, pipe: io.RawIOBase, sample_rate: int):
        self.pipe = pipe
        sizes = (16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)  # of `fmt `: PCM, one channel, bytes a second, a sample
        self._write(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", UNKNOWN, b"WAVE", b"fmt ", *sizes, b"data", UNKNOWN))

    def add(self, wav: Tensor) -> None:
        """Write samples (T,), clipped to ±1. Raises `OSError`, such as `BrokenPipeError` where nobody reads."""
        self._write(pcm16(wav.detach().cpu().float().numpy()).astype("<i2").tobytes())

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.pipe.write(rest) or 0 :]
