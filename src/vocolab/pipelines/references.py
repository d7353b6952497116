"""References: which few seconds of someone's recordings a model hears of the voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vocolab import audio
from vocolab.errors import UsageError, VocolabError

MIN_SECONDS = 0.5  # of speech in a reference: less tells no voice
PIECE_SECONDS = 1.0  # the least that is taken of each of several references, where they have it
LISTEN_SECONDS = 10.0  # how far into a file its speech must begin
QUIET = 0.01  # of the peak (-40 dB): what is below this before the speech is no speech
WHOLE_SECONDS = 30.0  # of references that are heard whole, together: the longest utterances that models train on
SILENT = 0.001  # a peak of -60 dB: a recording of nothing


@dataclass
class Excerpt:
    """What is taken of one reference."""

    path: Path
    wav: Tensor  # (T,) at the rate asked for
    used: float  # s
    seconds: float  # of the whole file


def excerpts(paths: Sequence[str | Path], sample_rate: int, seconds: float) -> list[Excerpt]:
    """Together `seconds` of speech of the references, each from where its speech begins.

    They share the seconds equally; what one is too short for goes to the others. Of more references than there are
    pieces of a second, the first are taken. No more of a file is read than could be needed. Raises `VocolabError` for a
    file that is missing, no sound, silent, or has less than half a second of speech.
    """
    _require(paths)
    if not seconds >= MIN_SECONDS:
        remedy = f"give at least {MIN_SECONDS:g} s"
        raise UsageError(f"a prompt of {seconds:g} s", "--input-prompt-length", remedy)
    chosen = [Path(path) for path in paths[: max(1, int(seconds / PIECE_SECONDS))]]
    found = [_speech(path, sample_rate, seconds) for path in chosen]
    for excerpt, samples in zip(found, shares([len(e.wav) for e in found], round(seconds * sample_rate)), strict=True):
        excerpt.wav = excerpt.wav[:samples]
        excerpt.used = len(excerpt.wav) / sample_rate
    return found


def whole(paths: Sequence[str | Path], sample_rate: int) -> list[Excerpt]:
    """All speech of the references, for a model that knows what they say; of each, only the silence before its speech
    is left out. Raises `VocolabError` as `excerpts` does, and where they last more than half a minute together.
    """
    _require(paths)
    total = sum(audio.info(path).seconds for path in paths)
    if total > WHOLE_SECONDS:
        what = f"{total:.1f} s of references, at most {WHOLE_SECONDS:g} s are heard with their text"
        raise VocolabError(what, "--ref", "give shorter ones, and what they say")
    found = [_speech(Path(path), sample_rate, WHOLE_SECONDS) for path in paths]
    for excerpt in found:
        excerpt.used = len(excerpt.wav) / sample_rate
    return found


def _require(paths: Sequence[str | Path]) -> None:
    if not paths:
        raise UsageError("no reference speech", "--ref", "name at least one file")


def shares(lengths: Sequence[int], total: int) -> list[int]:
    """Divide `total` equally among parts of these lengths, giving what the short ones cannot take to the others."""
    given = [0] * len(lengths)
    for place, part in enumerate(sorted(range(len(lengths)), key=lambda i: lengths[i])):
        given[part] = min(lengths[part], total // (len(lengths) - place))
        total -= given[part]
    return given


def _speech(path: Path, sample_rate: int, seconds: float) -> Excerpt:
    """The beginning of the speech in a file, no more than `seconds` of it."""
    info = audio.info(path)
    wav, _ = audio.read(path, sample_rate, LISTEN_SECONDS + seconds)
    loud = (wav.abs() > QUIET * wav.abs().max()).nonzero()
    if wav.abs().max() < SILENT:
        raise VocolabError("nothing but silence", path, "give a recording of speech")
    wav = wav[int(loud[0]) :][: round(seconds * sample_rate)]
    if len(wav) < MIN_SECONDS * sample_rate:
        what = f"{len(wav) / sample_rate:.2f} s of speech, at least {MIN_SECONDS:g} s are needed"
        raise VocolabError(what, path, "give a longer reference; 3 s are usual")
    return Excerpt(path, wav, 0.0, info.seconds)
