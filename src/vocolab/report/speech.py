"""The report on a language model of codes; `make quickstart-tts` ends with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vocolab import audio
from vocolab.errors import UsageError, VocolabError
from vocolab.pictures import alignment_axes, codes_axes, curve_axes, mel_axes
from vocolab.pipelines.references import WHOLE_SECONDS
from vocolab.pipelines.tts import TTS, Prompt, Spoken
from vocolab.report.shared import Report, Stopwatch, find, history, speech_of
from vocolab.report.stored import Stored


@dataclass
class Said:
    """A held-out text, said by the model."""

    utterance: Stored
    voice: Stored  # whose speech is the prompt
    prompt: Prompt
    spoken: Spoken
    true_seconds: float  # of the text in the recording


def speech_report(
    run: Path, checkpoint: Path, source: str | None, target: str | None, limit: int, device: str
) -> Report:
    """Say up to `limit` held-out texts, beginning with that of `source`, each in the voice of its speaker, or of
    `target`, from a few seconds of other speech.
    """
    tts = TTS.from_checkpoint(checkpoint, device=device)
    train, held_out = speech_of(run)
    first = find(held_out, source)
    watch = Stopwatch()
    said = [_say(tts, u, _voice(tts, train, u, target), watch) for u in _chosen(held_out, first, limit)]
    real, voice = (audio.read(u.path, tts.sample_rate)[0] for u in (first, said[0].voice))
    names = wav_names([s.utterance.key for s in said])
    wavs = dict(zip(names, [*(s.spoken.wav for s in said), voice, real], strict=True))
    curves = history(run)
    return Report(_figures(said, watch, curves), wavs, tts.sample_rate, _picture(tts, said[0], real, curves))


def wav_names(keys: list[str]) -> list[str]:
    """The names of a report's wavs, where `keys` are the utterances whose texts are said: each text as spoken, then the
    prompt and the recording of the first.
    """
    return [*(f"spoken-{key}" for key in keys), f"prompt-{keys[0]}", f"recorded-{keys[0]}"]


def _chosen(held_out: list[Stored], first: Stored, limit: int) -> list[Stored]:
    """`first`, then others, of as many speakers as possible."""
    seen: dict[str, int] = {first.speaker: 1}
    ranked = []
    for u in held_out:
        if u.text and u.key != first.key:
            ranked.append((seen.get(u.speaker, 0), u))
            seen[u.speaker] = seen.get(u.speaker, 0) + 1
    return [first, *(u for _, u in sorted(ranked, key=lambda pair: pair[0]))][:limit]


def _voice(tts: TTS, train: list[Stored], said: Stored, target: str | None) -> Stored:
    """The training utterance to prompt with: of the speaker, with another text."""
    speaker = target or said.speaker
    voices = (u for u in train if u.speaker == speaker and u.text != said.text)
    voice = next((u for u in voices if not tts.needs_ref_text or _fit_to_continue(u)), None)
    if voice is None:
        speakers = sorted({u.speaker for u in train})
        raise UsageError("no training speech of speaker", speaker, f"one of {', '.join(speakers)}")
    return voice


def _fit_to_continue(voice: Stored) -> bool:
    """Whether `voice` can be the prompt of a model that needs the prompt's text: it has one, and is short enough."""
    return bool(voice.text) and audio.info(voice.path).seconds <= WHOLE_SECONDS


def _say(tts: TTS, utterance: Stored, voice: Stored, watch: Stopwatch) -> Said:
    if not utterance.text:
        raise VocolabError("no text", utterance.source, "choose a held-out utterance that has one")
    prompt = tts.get_prompt([voice.path], text=_ref_text(tts, voice))
    language = _language(tts, utterance)
    texts = tts.read([utterance.text], language, [utterance.key], _ref_text(tts, voice), normalize=False)
    spoken = watch("speak", lambda one: one.seconds, lambda: next(tts.speak(texts, prompt, language=language)))
    return Said(utterance, voice, prompt, spoken, audio.info(utterance.path).seconds)


def _ref_text(tts: TTS, voice: Stored) -> str | None:
    return voice.text if tts.needs_ref_text else None


def _language(tts: TTS, utterance: Stored) -> str | None:
    """The language to read the text in. For a text without one: "" where the training had such texts, else None, which
    is the model's only language.
    """
    return utterance.language or ("" if "" in tts.symbols.languages else None)


def _figures(said: list[Said], watch: Stopwatch, curves: dict) -> dict[str, Any]:
    last = {name: float(points[-1, 1]) for name, points in curves.items()}
    sentences = [
        {
            "key": s.utterance.key,
            "voice": s.voice.speaker,
            "text": s.utterance.text,
            "seconds": round(s.spoken.seconds, 2),
            "recorded_seconds": round(s.true_seconds, 2),
            "stopped": s.spoken.stopped,
        }
        for s in said
    ]
    return {
        "tokens_per_s": round(_mean(curves, "tokens_per_s"), 1),
        "tokens_processed": int(last.get("tokens_processed", 0)),
        "val_loss": last.get("val/loss"),
        "stopped": sum(s.spoken.stopped for s in said),
        "sentences": sentences,
        "rtf": watch.rtf(),
    }


def _mean(curves: dict, name: str) -> float:
    return float(curves[name][:, 1].mean()) if name in curves else 0.0


def _picture(tts: TTS, said: Said, real: Tensor, curves: dict) -> Figure:
    figure = Figure(figsize=(15, 10), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[2, 1])[0]
    grid = left.subplots(4, 1, height_ratios=[1, 1, 0.6, 2])
    rate, frame = tts.sample_rate, 1 / tts.codec.frame_rate
    text, voice = said.utterance.text or "", said.voice.speaker
    short = text if len(text) <= 60 else text[:57] + "…"
    mel_axes(grid[0], _mel(real, rate), f"{said.utterance.key} as recorded, never trained on: {short}", 0.02)
    ended = "" if said.spoken.stopped else ", cut"
    mel_axes(grid[1], _mel(said.spoken.wav, rate), f"spoken in the voice of {voice}{ended}", 0.02)
    codes_axes(grid[2], said.spoken.codes, "its codes", frame)
    alignment_axes(grid[3], *_alignment(tts, said), "how much each symbol adds to each frame of the first level", frame)
    grid[3].set_xlabel("seconds", fontsize=8)
    plots = {"loss": r"(train|val)/loss(_level_\d+)?", "top-10 accuracy": r"(train|val)/acc_level_\d+"}
    for axes, (title, names) in zip(right.subplots(2, 1), plots.items(), strict=True):
        curve_axes(axes, {name: points for name, points in curves.items() if re.fullmatch(names, name)})
        axes.set_title(title, loc="left", fontsize=9)
    return figure


def _mel(wav: Tensor, rate: int) -> Tensor:
    """Log-mel (80, L) of 50 frames a second."""
    return audio.log_mel(wav, rate, hop=rate // 50)


@torch.inference_mode()
def _alignment(tts: TTS, said: Said) -> tuple[Tensor, list[str]]:
    """How much each symbol adds to each frame of the first level, (N, L), and the N symbols."""
    model: Any = getattr(tts.lm, "ar", tts.lm)
    language = _language(tts, said.utterance)
    ids = tts.read([said.utterance.text or ""], language, ref_text=_ref_text(tts, said.voice), normalize=False)
    codes = said.spoken.codes[None].to(tts.device)
    lengths = torch.tensor([codes.shape[2]], device=tts.device)
    added = model.alignment(tts.condition(ids, said.prompt, language), codes, lengths)[0]
    return added.cpu(), [tts.symbols.symbols[i] for i in ids[0]]
