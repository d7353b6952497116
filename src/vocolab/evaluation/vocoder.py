"""What a vocoder does: recordings spoken again from their features, and said in other voices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from torch import Tensor

from vocolab import rng
from vocolab.data.corpora import Utterance
from vocolab.errors import VocolabError
from vocolab.evaluation.corpus import HeldOut
from vocolab.evaluation.sample import Made, Sample
from vocolab.files import read_lines
from vocolab.pipelines import KNNVC, Voice


@dataclass(frozen=True)
class Conversion:
    """An utterance, and the recordings of the voice that is to say it."""

    source: Utterance
    target: str
    references: tuple[Path, ...]


def resynthesis(vc: KNNVC, utterances: Sequence[Utterance]) -> list[Sample]:
    """Each utterance from its own features."""

    def speak(path: Path) -> Tensor:
        return vc.vocode(vc.get_voice([path], vad_trigger_level=0).synthesis[None])[0].cpu()

    return [
        Sample(
            u.key,
            partial(_made, partial(speak, u.path), vc.sample_rate),
            "resynthesis",
            reference=u.path,
            text=u.text,
            language=u.language,
            voice=u.speaker,
        )
        for u in utterances
    ]


def conversion(vc: KNNVC, conversions: Sequence[Conversion]) -> list[Sample]:
    """Each utterance in the voice of its target: as loud as it comes, pauses as the vocoder makes them."""

    @lru_cache(maxsize=4)  # those of one target follow each other
    def voice(references: tuple[Path, ...]) -> Voice:
        return vc.get_voice(references, vad_trigger_level=0)

    def speak(one: Conversion) -> Callable[[], Tensor]:
        target = voice(one.references)
        return lambda: vc.convert(one.source.path, target, loudness=None, silence=None).wav

    def made(one: Conversion) -> Made:
        return _made(speak(one), vc.sample_rate)

    return [
        Sample(
            f"{one.source.key}-to-{one.target}".replace("/", "-"),
            partial(made, one),
            "conversion",
            text=one.source.text,
            language=one.source.language,
            voice=one.target,
            prompt=one.references[0],
            source_voice=one.source.speaker,
        )
        for one in conversions
    ]


def draw_conversions(held: HeldOut, seed: int = 0, limit: int | None = None) -> list[Conversion]:
    """Each utterance with another voice of its language, drawn by `seed`; the first `limit` of them, in an order that
    is drawn too. An utterance is left out where no other voice of its language has said anything else.

    Voices are compared within one language alone: see `metrics.voices`.
    """
    languages = {voice: {u.language for u in utterances} for voice, utterances in held.voices.items()}
    found: list[Conversion] = []
    for place in rng.permute(np.arange(len(held.utterances)), len(held.utterances), rng.mix(seed, 1)):
        source = held.utterances[place]
        others = sorted(v for v in held.voices if v != source.speaker and source.language in languages[v])
        if limit is not None and len(found) == limit:
            break
        if others:
            target = others[rng.mix(seed, int(place)) % len(others)]
            if references := held.references(target, source):
                found.append(Conversion(source, target, tuple(u.path for u in references)))
    if not found:
        raise VocolabError("no other voice to convert to", "--corpus", "give several voices, or --task resynthesis")
    return sorted(found, key=lambda one: (one.target, one.source.key))


def read_conversions(path: Path, held: HeldOut) -> list[Conversion]:
    """The conversions of a list, the key of an utterance and a voice a line. Raises `VocolabError` naming the line at
    fault.
    """
    by_key = {u.key: u for u in held.utterances}
    found: dict[tuple[str, str], Conversion] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        where, fields = f"{path}:{number}", line.split()
        if len(fields) != 2:
            raise VocolabError(f"{len(fields)} words", where, "write the key of an utterance and a voice")
        key, target = fields
        if key not in by_key:
            raise VocolabError(f"no utterance {key!r} is evaluated", where, f"one of {', '.join(list(by_key)[:5])}, …")
        references = held.references(target, by_key[key])
        if not references:
            what = f"nothing to tell the voice {target!r} by"
            raise VocolabError(what, where, f"one of {', '.join(sorted(held.voices)[:5])}, …")
        found[key, target] = Conversion(by_key[key], target, tuple(u.path for u in references))
    if not found:
        raise VocolabError("a list without lines", path, "write the key of an utterance and a voice a line")
    return sorted(found.values(), key=lambda one: (one.target, one.source.key))


def _made(speak: Callable[[], Tensor], rate: int) -> Made:
    start = time.perf_counter()
    wav = speak()
    return Made(wav, rate, time.perf_counter() - start)
