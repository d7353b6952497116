"""Sound as tensors: files, rates, levels, mel spectrograms."""

from vocolab.audio.io import AudioInfo, find, info, is_sound, load, read, resample, write
from vocolab.audio.level import loudness, normalize_loudness, trim_silence
from vocolab.audio.mel import LogMel, log_mel, mel_filterbank, reflect_pad

__all__ = [
    "AudioInfo",
    "LogMel",
    "find",
    "info",
    "is_sound",
    "log_mel",
    "loudness",
    "mel_filterbank",
    "normalize_loudness",
    "read",
    "reflect_pad",
    "resample",
    "trim_silence",
    "write",
]
