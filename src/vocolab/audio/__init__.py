"""Sound as tensors: files, rates, levels, mel spectrograms."""

from vocolab.audio.io import AudioInfo, find, info, is_sound, load, read
from vocolab.audio.joining import followed, trimmed
from vocolab.audio.level import Level, loudness, normalize_loudness, trim_silence, true_peak
from vocolab.audio.mel import LogMel, log_mel, mel_filterbank, reflect_pad
from vocolab.audio.piping import PipedWav
from vocolab.audio.resampling import resample, resampled
from vocolab.audio.silence import SILENCE, gate, silences
from vocolab.audio.tempo import at_speed, check_speed
from vocolab.audio.waveform import Speech, Waveform, as_waveform, to_float
from vocolab.audio.writing import FORMATS, growing, write

__all__ = [
    "FORMATS",
    "SILENCE",
    "AudioInfo",
    "Level",
    "LogMel",
    "PipedWav",
    "Speech",
    "Waveform",
    "as_waveform",
    "at_speed",
    "check_speed",
    "find",
    "followed",
    "gate",
    "growing",
    "info",
    "is_sound",
    "load",
    "log_mel",
    "loudness",
    "mel_filterbank",
    "normalize_loudness",
    "read",
    "reflect_pad",
    "resample",
    "resampled",
    "silences",
    "to_float",
    "trim_silence",
    "trimmed",
    "true_peak",
    "write",
]
