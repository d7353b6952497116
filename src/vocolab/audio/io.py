"""Reading and finding of sound files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from vocolab.audio.resampling import resample, resampled
from vocolab.audio.waveform import Speech, as_waveform, check_samples
from vocolab.errors import VocolabError

# Formats that libsndfile reads and that speech comes in. Its raw and MATLAB formats are not among them: files that are
# no sound have the same suffixes.
EXTENSIONS = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .nist .voc".split()
)

BLOCK = 2**22  # frames decoded at once: four minutes at 16 kHz
MIN_RATE = 1000  # Hz: no speech is below; a damaged header that states 1 Hz turns a second into half a day


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says."""

    sample_rate: int  # Hz
    samples: int  # per channel
    channels: int

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate


def info(path: str | Path) -> AudioInfo:
    """Read the header of a sound file. Raises `VocolabError` where there is none."""
    path = Path(path)
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels)


def read(path: str | Path, sample_rate: int | None = None, seconds: float | None = None) -> tuple[Tensor, int]:
    """Read a sound file as mono float32 (T,) and its rate in Hz, resampled to `sample_rate` where one is given.

    `seconds`: read at most so many, from the beginning. Channels are averaged. Raises `VocolabError` where the file is
    missing, not sound, cut short, empty, not finite, or holds integers as floats (see `waveform.LIMIT`).
    """
    path = Path(path)
    with _open(path) as file:
        rate = file.samplerate
        promised = file.frames if seconds is None else min(file.frames, round(seconds * rate))
        wanted = rate if sample_rate is None else sample_rate
        blocks = list(resampled(_mono(file, path, promised), rate, wanted))
    return torch.from_numpy(blocks[0] if len(blocks) == 1 else np.concatenate(blocks)), wanted


def load(speech: Speech, sample_rate: int, given_rate: int | None = None) -> Tensor:
    """Speech from a file, or given as a waveform of `given_rate` Hz (default: `sample_rate`), as float32 (T,) at
    `sample_rate`.

    Raises `VocolabError` as `read` and `as_waveform` do.
    """
    if isinstance(speech, (str, Path)):
        return read(speech, sample_rate)[0]
    return resample(as_waveform(speech), sample_rate if given_rate is None else given_rate, sample_rate)


def find(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Sound files: each path itself where it is a file, all under it, sorted, where it is a folder.

    Raises `VocolabError` where a path does not exist or a folder holds no sound.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        path = Path(path)
        if os.path.isdir(path):  # unlike Path's own, no error for a name that is too long
            inside = sorted(p for p in path.rglob("*") if is_sound(p.relative_to(path)) and p.is_file())
            if not inside:
                raise VocolabError("no sound files in folder", path, f"looked for {' '.join(sorted(EXTENSIONS))}")
            found += inside
        elif os.path.exists(path):
            found.append(path)
        else:
            raise VocolabError("no such file", path, "check the path")
    return found


def is_sound(path: Path) -> bool:
    """Whether the path is a sound file's by its name: a suffix of `EXTENSIONS`, and no hidden file or folder."""
    return path.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in path.parts)


@contextmanager
def _decoding(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into `VocolabError`: it concerns this one file, and work goes on with others."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "error_string", None) or str(error) or type(error).__name__
        raise VocolabError(f"{what} ({reason})", path, "replace or remove the file") from error


def _open(path: Path) -> soundfile.SoundFile:
    if os.path.isdir(path):
        raise VocolabError("a folder, not a sound file", path, "name a file in it")
    if not os.path.exists(path):
        raise VocolabError("no such file", path, "check the path")
    if not os.path.isfile(path):  # to open a pipe that nobody writes to would wait for ever
        raise VocolabError("a pipe or a device, not a sound file", path, "write it to a file first")
    # soundfile encodes a str strictly as UTF-8; given bytes, it opens files of any name.
    with _decoding(path, "not a readable sound file"):
        file = soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path))
    if file.samplerate < MIN_RATE:
        file.close()
        raise VocolabError(f"a sample rate of {file.samplerate} Hz", path, "replace the file: its header is damaged")
    return file


def _mono(file: soundfile.SoundFile, path: Path, promised: int) -> Iterator[np.ndarray]:
    """The mean of the channels (T,) of the next `promised` frames of a file, block by block, without seeking.

    In blocks: all channels of an hour need not be in memory at once, and a damaged header may promise more frames than
    memory holds.
    """
    left = promised
    while left:
        wanted = min(left, BLOCK)
        with _decoding(path, "sound file damaged or cut short"):
            samples = torch.from_numpy(file.read(wanted, dtype="float32", always_2d=True))  # (T, channels)
        if len(samples):
            check_samples(samples, path)
            yield (samples[:, 0] if samples.shape[1] == 1 else samples.mean(1)).numpy()
        left -= len(samples)
        if len(samples) < wanted:
            break
    # An MP3 header only estimates its length; every other format states it.
    if _states_more(file) or (left and not file.format.startswith("MP")):
        raise VocolabError(f"sound file cut short ({promised - left} samples left)", path, "replace the file")
    if left == promised:
        raise VocolabError("no samples", path, "give speech")


def _states_more(file: soundfile.SoundFile) -> bool:
    """Whether the header of a WAV file states more data than the file holds. A stream's header states the largest
    number instead of a length, which nobody knew when it was written.
    """
    stated = re.search(r"^\s*data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    return stated is not None and int(stated[2]) < int(stated[1]) < 0x7FFFF000
