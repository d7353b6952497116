"""Hostile speech: 500 seeded files, each made from its number alone, so that a failing one can be named and made again:

python -m tests.fuzz 137 FOLDER
"""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from tests.data.speech import BUILTIN

COUNT = 500
RATES = (4000, 6000, 7350, 8000, 11025, 16000, 16001, 22050, 24000, 37800, 44056, 44100, 48000, 88200, 96000, 192000)
FORMATS = {
    "wav": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW IMA_ADPCM MS_ADPCM GSM610".split(),
    "flac": "PCM_S8 PCM_16 PCM_24".split(),
    "ogg": "VORBIS OPUS".split(),
    "opus": ["OPUS"],
    "mp3": ["MPEG_LAYER_III"],
    "aiff": "PCM_16 PCM_24 FLOAT".split(),
    "au": "PCM_16 FLOAT ULAW".split(),
    "caf": "PCM_16 ALAC_16".split(),
    "w64": ["PCM_16"],
    "rf64": ["PCM_24"],
}
CONTAINERS = {"opus": "OGG"}  # the others are named as their files are
COMMON = ("wav", "wav", "flac", "ogg", "opus", "mp3")
# Brand, then a sample table without samples: what a player's `.m4a` begins with.
M4A = b"\0\0\0\x20ftypM4A \0\0\2\0M4A mp42isom\0\0\0\0" + b"\0\0\0\x08free" + b"\0\0\1\0mdat" + bytes(range(248))
NAMES = (
    *("two words", "a\nb", "tab\there", "a\r", "a.b.c", "a\\b", "a'b\"c", "[1]", "*", "%d", "{}", "x" * 245),
    *("näme", "日本語", "🎤", "\u202egnp", "caf\udce9"),
    *("-dash", "--overwrite", "-", "$HOME", "$UNSET", "~", "~nobody", ".hidden"),
)


# Place and form of the numbers in a plain WAV header: sizes, format, channels, rates, widths.
WAV_FIELDS = [(4, "<I"), (16, "<I"), (20, "<H"), (22, "<H"), (24, "<I"), (28, "<I"), (32, "<H"), (34, "<H"), (40, "<I")]
WORDS = ("hello\n", "<html><body>404 Not Found</body></html>\n", "a.wav 3001 hello\n", "version 1\noid sha256:0\n", "")


OGG_CRC = [0] * 256
for _byte in range(256):
    _rest = _byte << 24
    for _ in range(8):
        _rest = (_rest << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if _rest >> 31 else 0)
    OGG_CRC[_byte] = _rest


@dataclass(frozen=True)
class Case:
    number: int
    about: str  # what was made, in words
    path: Path  # a file, a folder or a link


def make(number: int, folder: Path) -> Case:
    """Write case `number` into `folder`, which is empty."""
    rng = random.Random(f"vocolab {number}")
    kind = KINDS[number % len(KINDS)]
    path = kind(rng, folder)
    return Case(number, f"case {number}, {kind.__name__}: {path.name!r}", path)


# What is written


def signal(rng: random.Random, rate: int, channels: int) -> np.ndarray:
    """Samples (T, channels), 0 to 3 s: speech, tones, silence, and what no microphone gives."""
    length = rng.choice([0, 1, 2, rate // 100, rate // 30, rng.randrange(3 * rate), rng.randrange(3 * rate), 3 * rate])
    t = np.arange(length) / rate
    made = {
        "speech": lambda: speech(rate, length),
        "loud": lambda: np.clip(40 * speech(rate, length), -1, 1),
        "beyond full scale": lambda: 3 * speech(rate, length),
        "tone": lambda: 0.5 * np.sin(2 * np.pi * rng.uniform(20, 2000) * t),
        "constant": lambda: np.full(length, rng.choice([-1, -0.3, 1e-5, 0.7, 1])),
        "silence": lambda: np.zeros(length),
        "almost silence": lambda: np.full(length, 1e-42),
        "noise": lambda: np.random.default_rng(rng.randrange(2**32)).uniform(-1, 1, length),
        "integers": lambda: np.round(32767 * speech(rate, length)),
        "click": lambda: np.eye(1, length, length // 2)[0] if length else np.zeros(0),
        "not a number": lambda: spoilt(rng, speech(rate, length), np.nan),
        "infinity": lambda: spoilt(rng, speech(rate, length), rng.choice([np.inf, -np.inf])),
    }
    mono = made[rng.choice(list(made))]().astype(np.float64)
    return np.stack([mono * rng.choice([1, 1, -1, 0.1, 1e-9]) for _ in range(channels)], 1)


@cache
def recording() -> np.ndarray:
    return soundfile.read(BUILTIN / "synth/3001/10/3001-10-0000.opus", dtype="float64")[0]


def speech(rate: int, length: int) -> np.ndarray:
    """The beginning of an utterance (T,)."""
    spoken = recording()
    return np.interp(np.arange(length) * 16000 / rate, np.arange(len(spoken)), spoken)


def spoilt(rng: random.Random, wav: np.ndarray, value: float) -> np.ndarray:
    wav = wav.copy()
    if len(wav):
        start = rng.randrange(len(wav))
        wav[start : start + rng.choice([1, 100, len(wav)])] = value
    return wav


def sound(rng: random.Random, folder: Path, suffixes: tuple[str, ...] = tuple(FORMATS), name: str = "case") -> Path:
    """A whole sound file of any kind; where the format takes no such rate or channels, a WAV file."""
    suffix, channels = rng.choice(suffixes), rng.choice([1, 1, 1, 2, 2, 3, 5, 8])
    rate, subtype = rng.choice([*RATES, rng.randrange(4000, 192001)]), rng.choice(FORMATS[suffix])
    if suffix in ("ogg", "opus", "mp3"):
        rate, channels = rng.choice([8000, 16000, 24000, 48000]), min(channels, 2)
    samples, path = signal(rng, rate, channels), folder / f"{name}.{suffix}"
    if subtype not in ("FLOAT", "DOUBLE"):  # encoders abort on what is not finite
        samples = np.clip(np.nan_to_num(samples), -1, 1)
    try:
        with soundfile.SoundFile(
            os.fsencode(path), "w", rate, channels, subtype, None, CONTAINERS.get(suffix, suffix.upper())
        ) as file:
            file.write(samples)
        if CONTAINERS.get(suffix, suffix) in ("OGG", "ogg"):
            path.write_bytes(settle(path.read_bytes()))
    except (soundfile.LibsndfileError, ValueError, TypeError, AssertionError):  # the last: not all was written
        path.unlink(missing_ok=True)
        path = path.with_suffix(".wav")
        soundfile.write(os.fsencode(path), samples, rate, subtype="FLOAT", format="WAV")
    return untimed(path)


def untimed(path: Path) -> Path:
    """With the time 0 in the header, where libsndfile puts the second of writing if samples are in floating point."""
    data = bytearray(path.read_bytes())
    place = data.find(b"PEAK")
    if 0 <= place < 200:
        data[place + 12 : place + 16] = bytes(4)
        path.write_bytes(data)
    return path


def settle(data: bytes) -> bytes:
    """An Ogg stream with the serial number 0, for which libsndfile draws a random one, and its checksums made anew."""
    found, place = bytearray(data), 0
    while found[place : place + 4] == b"OggS":
        lacing = found[place + 27 : place + 27 + found[place + 26]]
        end = place + 27 + len(lacing) + sum(lacing)
        found[place + 14 : place + 18] = found[place + 22 : place + 26] = bytes(4)
        checksum = 0
        for byte in found[place:end]:
            checksum = (checksum << 8 & 0xFFFFFFFF) ^ OGG_CRC[checksum >> 24 ^ byte]
        struct.pack_into("<I", found, place + 22, checksum)
        place = end
    return bytes(found)


def whole(rng: random.Random, folder: Path) -> Path:
    return sound(rng, folder)


def many_rates(rng: random.Random, folder: Path) -> Path:
    path, rate, channels = folder / "case.wav", rng.randrange(4000, 192001), rng.randrange(1, 9)
    soundfile.write(path, signal(rng, rate, channels), rate, subtype=rng.choice(["FLOAT", "PCM_16"]), format="WAV")
    return untimed(path)


def wrong_extension(rng: random.Random, folder: Path) -> Path:
    path = sound(rng, folder)
    return path.rename(
        path.with_suffix(rng.choice([".wav", ".mp3", ".flac", ".opus", ".m4a", ".txt", ".WAV", "", ".raw"]))
    )


def cut_short(rng: random.Random, folder: Path) -> Path:
    if rng.random() < 0.1:
        path, data = folder / "case.m4a", M4A
    else:
        path = sound(rng, folder)
        data = path.read_bytes()
    ends = [0, 1, 4, 11, 12, 36, 43, 44, 45, len(data) // 2, len(data) - 1, rng.randrange(len(data) + 1)]
    path.write_bytes(data[: max(0, rng.choice(ends))])
    return path


def damaged(rng: random.Random, folder: Path) -> Path:
    """Bytes changed at random places; half of them in the header alone."""
    path = sound(rng, folder, COMMON)
    data = bytearray(path.read_bytes())
    end = len(data) if rng.random() < 0.5 else min(len(data), 60)
    for _ in range(rng.choice([1, 2, 8, 200]) if data else 0):
        data[rng.randrange(end)] = rng.randrange(256)
    path.write_bytes(data)
    return path


def lying_header(rng: random.Random, folder: Path) -> Path:
    """A WAV file whose header states another rate, number of channels, width or size than its samples have."""
    path = folder / "case.wav"
    soundfile.write(path, signal(rng, 16000, 1), 16000, subtype="PCM_16", format="WAV")
    data = bytearray(path.read_bytes())
    values = [0, 1, 2, 7, 24, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1]
    for place, form in rng.sample(WAV_FIELDS, rng.choice([1, 1, 2])):
        struct.pack_into(form, data, place, rng.choice(values) % 2 ** (8 * struct.calcsize(form)))
    path.write_bytes(data)
    return path


def garbage(rng: random.Random, folder: Path) -> Path:
    path = folder / f"case.{rng.choice(list(FORMATS))}"
    begin = rng.choice(
        [b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC", b"OggS", b"ID3\4\0\0", b"\xff\xfb", M4A, b"FORM"]
    )
    path.write_bytes(begin + rng.randbytes(rng.choice([0, 1, 100, 5000])))
    return path


def text(rng: random.Random, folder: Path) -> Path:
    path = folder / f"case.{rng.choice(['wav', 'flac', 'mp3', 'sph'])}"
    path.write_text(rng.choice(WORDS) * rng.choice([1, 500]))
    return path


def folder_with_suffix(rng: random.Random, folder: Path) -> Path:
    path = folder / "case.wav"
    path.mkdir()
    if rng.random() < 0.7:
        sound(rng, path)
    return path


def link(rng: random.Random, folder: Path) -> Path:
    """Links to themselves, in a circle, to nothing, to a folder that holds them, and to a file."""
    path, kind = folder / "case.wav", rng.randrange(5)
    if kind == 0:
        path.symlink_to("case.wav")
    elif kind == 1:
        path.symlink_to("other.wav")
        (folder / "other.wav").symlink_to("case.wav")
    elif kind == 2:
        path.symlink_to("nothing.wav")
    elif kind == 3:
        path.mkdir()
        (path / "again").symlink_to("..", target_is_directory=True)
        sound(rng, path)
    else:
        (folder / "real").mkdir()
        path.symlink_to(sound(rng, folder / "real"))
    return path


def no_file(rng: random.Random, folder: Path) -> Path:
    """A pipe that nobody writes to, a device without end, or one that is always empty."""
    path, kind = folder / "case.wav", rng.randrange(3)
    if kind == 0:
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == 1 else "/dev/null")
    return path


def named(rng: random.Random, folder: Path) -> Path:
    return sound(rng, folder, ("wav", "flac", "opus"), rng.choice(NAMES))


Kind = Callable[[random.Random, Path], Path]
KINDS: tuple[Kind, ...] = (
    whole, many_rates, cut_short, damaged, named, wrong_extension, lying_header, cut_short, link, whole, garbage, text,
    folder_with_suffix, no_file, cut_short, named, many_rates, damaged, lying_header,
)  # fmt: skip


if __name__ == "__main__":
    print(make(int(sys.argv[1]), Path(sys.argv[2])).about)
