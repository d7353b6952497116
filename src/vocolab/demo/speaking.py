"""What the tab "Speak" does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vocolab.demo.limits import Limits
from vocolab.demo.results import Result, leave, named
from vocolab.errors import memory_told
from vocolab.pipelines import TTS, passages
from vocolab.pipelines.passages import Delivery, Part, Passage


@dataclass(frozen=True)
class Manner:
    """How a text is spoken: the flags of `vocolab synthesize`."""

    sampling: Mapping[str, Any] = field(default_factory=dict)  # fields of `vocolab.lm.Sampling`
    speed: float = 1.0
    seed: int = 0
    language: str | None = None
    ref_text: str | None = None  # what the recordings of the voice say


class Speaking:
    """Says a text in the voice of recordings."""

    def __init__(self, tts: TTS, limits: Limits, folder: Path):
        self.tts, self.limits, self.folder = tts, limits, folder

    def __call__(
        self,
        text: str | None,
        files: Sequence[str | Path] | None,
        recorded: str | Path | None,
        manner: Manner,
        on_step: Callable[[int], None] | None = None,
    ) -> Result:
        """`files` and `recorded` are the voice; `on_step` is called with the number of frames that are there. Raises
        `VocolabError` for what will not do.
        """
        tts, text, references = self.tts, self.limits.text(text), self.limits.voice(files, recorded)
        sampling, delivery = tts.sampling(**manner.sampling), Delivery(manner.speed)
        began = time.perf_counter()
        passage = passages.read(tts, text, "the text", manner.language, manner.ref_text, sampling)
        with memory_told("give less text, or shorter recordings"):
            prompt = tts.get_prompt(references, text=manner.ref_text)
            parts = list(
                passages.say(tts, [passage], prompt, sampling, delivery, manner.language, manner.seed, on_step=on_step)
            )
        wav = torch.cat([part.wav for part in parts])
        told = _told(len(wav) / tts.sample_rate, time.perf_counter() - began, passage, parts)
        heard = torch.cat([excerpt.wav for excerpt in prompt.excerpts])
        shown = {"the voice, as the model heard it": heard, "what it says": wav}
        return leave(self.folder, named(Path("spoken"), references[0]), wav, tts.sample_rate, shown, told)


def _told(seconds: float, took: float, passage: Passage, parts: Sequence[Part]) -> str:
    told = [f"{seconds:.1f} s of speech, made in {took:.1f} s"]
    cut = sum(not part.spoken.stopped for part in parts)
    if cut:
        told.append("it did not stop by itself and was cut: another seed may do better")
    if passage.left_out:
        told.append(f"left out, the model knows no symbol of it: {', '.join(passage.left_out)}")
    return "; ".join(told)
