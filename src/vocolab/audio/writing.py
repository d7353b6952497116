"""Writing of sound files."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from vocolab.audio.ogg import fix_serial
from vocolab.audio.resampling import resampled
from vocolab.audio.waveform import to_float
from vocolab.errors import UsageError, VocolabError
from vocolab.files import atomic

# By suffix: what libsndfile calls the container and the coding.
FORMATS = {
    "": ("WAV", "PCM_16"),
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".opus": ("OGG", "OPUS"),
}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz: all that Opus knows (RFC 6716, 2)
BLOCK = 2**20  # samples encoded at once: a minute at 16 kHz
WAV_BYTES = 2**32 - 1024  # a WAV file states its size in 32 bits


def write(
    path: str | Path, wav: Tensor, sample_rate: int, overwrite: bool = False, file_rate: int | None = None
) -> None:
    """Write wav (T,), floats or integers, as mono WAV (PCM16), FLAC or Opus by the suffix. Samples beyond ±1 are
    clipped; the file is whole or absent. The same samples give the same bytes.

    `file_rate`: resample it to so many Hz. Opus knows only `OPUS_RATES`: there, another rate becomes the next above.
    Raises `VocolabError` where samples are not finite, `path` exists and `overwrite` is false, or the disk refuses.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"cannot write {path.suffix} files", path, "name the output .wav, .flac or .opus")
    if wav.squeeze().ndim > 1:
        raise VocolabError(f"cannot write a waveform of shape {tuple(wav.shape)}", path, "give one channel, (T,)")
    rate = file_rate or sample_rate
    if suffix == ".opus":
        rate = min((known for known in OPUS_RATES if known >= rate), default=OPUS_RATES[-1])
    container, coding = FORMATS[suffix]
    with atomic(path, overwrite) as temporary:  # around all of it: libsndfile's own refusals become one line, too
        # Encoded in memory: libsndfile reports a full disk as success, Python's own write does not.
        encoded = io.BytesIO()
        with soundfile.SoundFile(encoded, "w", rate, 1, coding, format=container) as file:
            for block in resampled(_floats(wav.detach().cpu().reshape(-1), path), sample_rate, rate):
                file.write(pcm16(block))
        if coding == "OPUS":
            fix_serial(encoded.getbuffer())
        temporary.write_bytes(encoded.getbuffer())


@contextmanager
def growing(path: str | Path, sample_rate: int, overwrite: bool = False) -> Iterator[Callable[[Tensor], None]]:
    """A mono WAV file (PCM16) that is written as its samples come: what the block is given takes the next of them,
    (T,). Its bytes are those of `write`. It gets its name when the block ends, and is not there where the block raises.

    Raises `VocolabError` as `write` does, and where a WAV file does not hold that much.
    """
    path = Path(path)
    with atomic(path, overwrite) as temporary, open(temporary, "wb") as raw, wave.open(raw, "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", ""))

        def add(wav: Tensor) -> None:
            for block in _floats(wav.detach().cpu().reshape(-1), path):
                if 2 * (file.tell() + len(block)) > WAV_BYTES:
                    hours = file.tell() / sample_rate / 3600
                    what = f"a WAV file holds no more than these {hours:.1f} hours"
                    raise VocolabError(what, path, "say the text in parts")
                file.writeframesraw(pcm16(block).astype("<i2").tobytes())

        yield add


def pcm16(block: np.ndarray) -> np.ndarray:
    """Samples within ±1 as integers; those beyond are clipped."""
    return (block.astype(np.float64) * 32768).round().clip(-32768, 32767).astype(np.int16)


def _floats(wav: Tensor, path: Path) -> Iterator[np.ndarray]:
    """wav (T,) in blocks of float32."""
    for block in wav.split(BLOCK):
        block = to_float(block)
        if not torch.isfinite(block).all():
            raise VocolabError("waveform with samples that are not finite", path, "check the model that made it")
        yield block.float().numpy()
