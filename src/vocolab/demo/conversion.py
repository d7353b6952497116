"""What the tab "Convert" does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vocolab import audio
from vocolab.demo.limits import Limits
from vocolab.demo.results import Result, leave, named
from vocolab.errors import memory_told
from vocolab.pipelines import KNNVC


@dataclass(frozen=True)
class Manner:
    """How speech is converted: the flags of `vocolab convert`."""

    topk: int
    silence: float | None = audio.SILENCE  # dB
    loudness: float | None = -16.0  # LKFS
    trim: bool = True  # silence off the ends of the voice's recordings
    duration: float | None = None  # s
    seed: int = 0


class Conversion:
    """Says a recording in the voice of other recordings."""

    def __init__(self, vc: KNNVC, limits: Limits, folder: Path):
        self.vc, self.limits, self.folder = vc, limits, folder

    def __call__(
        self,
        source: str | Path | None,
        files: Sequence[str | Path] | None,
        recorded: str | Path | None,
        manner: Manner,
    ) -> Result:
        """`files` and `recorded` are the voice. Raises `VocolabError` for what will not do."""
        path, references = self.limits.source(source), self.limits.voice(files, recorded)
        duration = self.limits.duration(manner.duration)
        began, rate = time.perf_counter(), self.vc.sample_rate
        torch.manual_seed(manner.seed)
        with memory_told("give shorter recordings"):
            voice = self.vc.get_voice(references, 7 if manner.trim else 0)
            level = self.vc.convert(path, voice, manner.topk, manner.loudness, duration, silence=manner.silence)
        took, before = time.perf_counter() - began, audio.read(path, rate)[0]
        told = f"{len(level.wav) / rate:.1f} s of speech, made in {took:.1f} s from {_heard(references)}"
        if level.note:
            told += f"; loudness: {level.note}"
        shown = {f"before: {path.name}": before, "after": level.wav}
        return leave(self.folder, named(path, references[0]), level.wav, rate, shown, told)


def _heard(references: Sequence[Path]) -> str:
    seconds = sum(audio.info(path).seconds for path in references)
    few = "; half a minute or more makes a better voice" if seconds < 30 else ""
    return f"{seconds:.1f} s of the voice{few}"
