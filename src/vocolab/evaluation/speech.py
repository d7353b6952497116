"""What a language model says, in voices it hears for a few seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vocolab import audio, rng
from vocolab.data.corpora import Utterance
from vocolab.errors import VocolabError
from vocolab.evaluation.corpus import HeldOut
from vocolab.evaluation.sample import Made, Sample
from vocolab.files import read_lines
from vocolab.lm import Sampling
from vocolab.pipelines import TTS
from vocolab.pipelines.references import WHOLE_SECONDS

PROMPT_SECONDS = 3.0
SECONDS = (4.0, 10.0)


@dataclass(frozen=True)
class Sentence:
    """A text, and the recording of the voice that is to say it."""

    key: str
    text: str
    prompt: Path
    prompt_text: str | None = None
    language: str | None = None  # None: the model's only one
    reference: Path | None = None  # a recording of the text in that voice
    voice: str | None = None
    normalize: bool = True  # whether the text is put in words first, as `vocolab synthesize` does


def spoken(
    tts: TTS,
    sentences: Sequence[Sentence],
    prompt_seconds: float | None = PROMPT_SECONDS,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[Sample]:
    """Each sentence by `tts`, from `prompt_seconds` of its prompt (None: as trained; all of it, for a model that must
    know the prompt's text).
    """
    make = partial(_speak, tts, prompt_seconds, sampling or tts.default_sampling, seed)
    return [
        Sample(s.key, partial(make, s), "speech", None, s.reference, s.text, s.language or "", s.voice, s.prompt)
        for s in sentences
    ]


def _speak(tts: TTS, seconds: float | None, sampling: Sampling, seed: int, sentence: Sentence) -> Made:
    ref_text = sentence.prompt_text if tts.needs_ref_text else None
    prompt = tts.get_prompt([sentence.prompt], None if tts.needs_ref_text else seconds, ref_text)
    ids = tts.read([sentence.text], sentence.language, [sentence.key], ref_text, sentence.normalize)
    start = time.perf_counter()
    (one,) = tts.speak(ids, prompt, sampling, sentence.language, seed)
    note = "" if one.stopped else f"it did not stop by itself and was cut after {one.frames} frames"
    return Made(one.wav, tts.sample_rate, time.perf_counter() - start, note, one.stopped)


def zero_shot(
    tts: TTS,
    held: HeldOut,
    seconds: tuple[float, float] = SECONDS,
    prompt_seconds: float = PROMPT_SECONDS,
    seed: int = 0,
) -> list[Sentence]:
    """The texts of the utterances that last so many `seconds`, each to be said from another recording of its speaker,
    drawn by `seed`, which lasts at least `prompt_seconds` (Wang et al. 2023, VALL-E, section 5.1: LibriSpeech, 4 to 10
    s). Those in a language that the model was not trained on are left out. A corpus's texts are read as they stand, as
    in training.

    Raises `VocolabError` where there is no such utterance.
    """
    found: list[Sentence] = []
    known = {*tts.symbols.languages, ""}
    for u in held.utterances:
        if u.text and u.language in known and seconds[0] <= audio.info(u.path).seconds <= seconds[1]:
            prompts = [p for p in _recordings(held, u) if _fits(tts, p, prompt_seconds)]
            if prompts:
                prompt = prompts[rng.mix(seed, len(found)) % len(prompts)]
                language = u.language or ("" if "" in tts.symbols.languages else None)
                found.append(Sentence(u.key, u.text, prompt.path, prompt.text, language, u.path, u.speaker, False))
    if not found:
        what = f"no utterance with a text lasts {seconds[0]:g} to {seconds[1]:g} s and has a prompt by its speaker"
        raise VocolabError(what, "--corpus", "give another corpus, or --seconds and --prompt-seconds")
    return found


def _recordings(held: HeldOut, utterance: Utterance) -> list[Utterance]:
    """Other recordings of the speaker: held out themselves if there are some, else those that tell the voice."""
    others = [u for u in held.utterances if u.speaker == utterance.speaker and u.text != utterance.text]
    return others or held.references(utterance.speaker, utterance)


def _fits(tts: TTS, prompt: Utterance, least: float) -> bool:
    length = audio.info(prompt.path).seconds
    return length >= least and (not tts.needs_ref_text or (bool(prompt.text) and length <= WHOLE_SECONDS))


def with_voices(sentences: Sequence[Sentence], held: HeldOut) -> list[Sentence]:
    """The sentences with the voices of their prompts, where these are recordings of the corpus."""
    speakers = {u.path.resolve(): u.speaker for us in (held.utterances, *held.voices.values()) for u in us}
    return [replace(s, voice=speakers.get(s.prompt.resolve(), s.voice)) for s in sentences]


def read_list(path: Path, language: str | None = None) -> list[Sentence]:
    """The sentences of a list as Seed-TTS-eval has them, `utt|prompt text|prompt wav|text` a line, and after a further
    bar the recording of the text, where there is one. Files are relative to the list's folder.

    Raises `VocolabError` naming the line at fault.
    """
    found: dict[str, Sentence] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("|")]
        where = f"{path}:{number}"
        if len(fields) not in (4, 5) or not all(fields[:4]):
            what = f"{len(fields)} fields, or an empty one"
            raise VocolabError(what, where, "write utt|prompt text|prompt wav|text")
        files = [path.parent / field for field in fields[2:3] + fields[4:5]]
        for file in files:
            if not file.is_file():
                raise VocolabError(f"no such file {str(file)!r}", where, "correct the path: it is relative to the list")
        key = re.sub(r"[^A-Za-z0-9_.-]", "-", fields[0]).lstrip(".")
        if key in found:
            raise VocolabError(f"a second {fields[0]!r}", where, "give each utterance its own name")
        reference = files[1] if len(files) > 1 else None
        found[key] = Sentence(key, fields[3], files[0], fields[1], language, reference)
    if not found:
        raise VocolabError("a list without lines", path, "write utt|prompt text|prompt wav|text")
    return list(found.values())
