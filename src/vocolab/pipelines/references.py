"""Which few seconds of reference recordings a model hears of a voice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from vocolab import audio
from vocolab.audio import Speech
from vocolab.errors import UsageError, VocolabError

MIN_SECONDS = 0.5  # of speech in a reference: less tells no voice
PIECE_SECONDS = 1.0  # the least that is taken of each of several references, where they have it
LISTEN_SECONDS = 10.0  # how far into a file its speech must begin
QUIET = 0.01  # of the peak (-40 dB): speech begins at the first sample above this
WHOLE_SECONDS = 30.0  # of references that are heard whole, together: the longest utterances that models train on
SILENT = 0.001  # a peak of -60 dB: a recording of nothing

SINGLE = (str, Path, Tensor, np.ndarray)


@dataclass
class Excerpt:
    """What is taken of one reference."""

    path: Path | None  # None: it was given as a waveform
    wav: Tensor  # (T,) at the rate asked for
    used: float  # s
    seconds: float  # of the whole reference


def listed(speech: Speech | Iterable[Speech]) -> list[Speech]:
    """One file or waveform, or several, as a list. Anything else is one, which its reader refuses."""
    return list(speech) if isinstance(speech, Iterable) and not isinstance(speech, SINGLE) else [speech]


def excerpts(
    references: Sequence[Speech], sample_rate: int, seconds: float, given_rate: int | None = None
) -> list[Excerpt]:
    """Together `seconds` of speech of the references, each from where its speech begins.

    References are files, or waveforms of `given_rate` Hz (default: `sample_rate`). They share the seconds equally; what
    a short one leaves over goes to the others. If there are more references than whole seconds, the first are taken.
    No more of a file is read than could be needed. Raises `VocolabError` for a reference that cannot be read, is
    silent, or has less than half a second of speech.
    """
    _require(references)
    if not seconds >= MIN_SECONDS:
        remedy = f"give at least {MIN_SECONDS:g} s"
        raise UsageError(f"a prompt of {seconds:g} s", "--input-prompt-length", remedy)
    chosen = references[: max(1, int(seconds / PIECE_SECONDS))]
    found = [_speech(reference, sample_rate, seconds, given_rate) for reference in chosen]
    for excerpt, samples in zip(found, shares([len(e.wav) for e in found], round(seconds * sample_rate)), strict=True):
        excerpt.wav = excerpt.wav[:samples]
        excerpt.used = len(excerpt.wav) / sample_rate
    return found


def whole(references: Sequence[Speech], sample_rate: int, given_rate: int | None = None) -> list[Excerpt]:
    """All speech of the references, for a model that knows what they say; of each, only the silence before its speech
    is left out. Raises `VocolabError` as `excerpts` does, and where they last more than half a minute together.
    """
    _require(references)
    total = sum(_seconds(reference, given_rate or sample_rate) for reference in references)
    if total > WHOLE_SECONDS:
        what = f"{total:.1f} s of references, at most {WHOLE_SECONDS:g} s are heard with their text"
        raise VocolabError(what, "--ref", "give shorter ones, and what they say")
    found = [_speech(reference, sample_rate, WHOLE_SECONDS, given_rate) for reference in references]
    for excerpt in found:
        excerpt.used = len(excerpt.wav) / sample_rate
    return found


def _require(references: Sequence[Speech]) -> None:
    if not references:
        raise UsageError("no reference speech", "--ref", "name at least one file")


def shares(lengths: Sequence[int], total: int) -> list[int]:
    """Divide `total` equally among parts of these lengths, giving what the short ones cannot take to the others."""
    given = [0] * len(lengths)
    for place, part in enumerate(sorted(range(len(lengths)), key=lambda i: lengths[i])):
        given[part] = min(lengths[part], total // (len(lengths) - place))
        total -= given[part]
    return given


def check_heard(wav: Tensor, where: object) -> None:
    """Raises `VocolabError` for a recording of nothing, wav (T,). One without samples is refused as too short."""
    if len(wav) and wav.abs().max() < SILENT:
        raise VocolabError("nothing but silence", where, "give a recording of speech")


def _seconds(reference: Speech, given_rate: int) -> float:
    if isinstance(reference, (str, Path)):
        return audio.info(reference).seconds
    return len(audio.as_waveform(reference)) / given_rate


def _speech(reference: Speech, sample_rate: int, seconds: float, given_rate: int | None) -> Excerpt:
    """The beginning of the speech in a reference, no more than `seconds` of it."""
    total = _seconds(reference, given_rate or sample_rate)
    path = Path(reference) if isinstance(reference, (str, Path)) else None
    needed = LISTEN_SECONDS + seconds
    if path is not None:
        wav, _ = audio.read(path, sample_rate, needed)
    else:
        wav = audio.load(reference, sample_rate, given_rate)[: round(needed * sample_rate)]
    where = path or "waveform"
    check_heard(wav, where)
    loud = (wav.abs() > QUIET * wav.abs().max()).nonzero()
    wav = wav[int(loud[0]) :][: round(seconds * sample_rate)]
    if len(wav) < MIN_SECONDS * sample_rate:
        what = f"{len(wav) / sample_rate:.2f} s of speech, at least {MIN_SECONDS:g} s are needed"
        raise VocolabError(what, where, "give a longer reference; 3 s are usual")
    return Excerpt(path, wav, 0.0, total)
