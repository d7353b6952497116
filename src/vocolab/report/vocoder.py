"""The report on a vocoder; `make quickstart` ends with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vocolab import audio
from vocolab.errors import UsageError, VocolabError
from vocolab.metrics import mel_distance, stoi
from vocolab.pictures import curve_axes, mel_axes
from vocolab.pipelines import KNNVC
from vocolab.report.shared import Report, Stopwatch, find, history, speech_of
from vocolab.report.stored import Stored


def vocoder_report(
    run: Path, checkpoint: Path, source: str | None, target: str | None, limit: int, device: str
) -> Report:
    """Resynthesise and convert held-out speech. `source`: key of an utterance (default: the first); `target`: speaker
    to convert it to (default: the next one).
    """
    vc = KNNVC.from_checkpoint(checkpoint, device=device)
    train, held_out = speech_of(run)
    utterance = find(held_out, source)
    voice = _choose_voice(train, utterance, target)

    watch = Stopwatch()
    measured = held_out[:: max(1, -(-len(held_out) // limit))]  # spread over the speakers
    figures = _resynthesis_figures(vc, measured, watch)
    wavs = _convert(vc, utterance, voice, watch)
    return Report(
        figures | {"source": utterance.key, "target": voice[0].speaker, "rtf": watch.rtf()},
        {name: wavs[name] for name in ("source", "resynthesis", "conversion")},
        vc.sample_rate,
        _picture(wavs, vc.sample_rate, history(run), utterance, voice[0].speaker),
    )


def _choose_voice(train: list[Stored], source: Stored, target: str | None) -> list[Stored]:
    """Training utterances of the target speaker, without those that say what the source says."""
    speakers = sorted({u.speaker for u in train})
    if target is None:
        others = [s for s in speakers if s > source.speaker] or [s for s in speakers if s != source.speaker]
        target = others[0] if others else source.speaker
    voice = [u for u in train if u.speaker == target and (u.text is None or u.text != source.text)]
    if not voice:
        raise UsageError("no training speech of speaker", target, f"one of {', '.join(speakers)}")
    return voice


def _resynthesis_figures(vc: KNNVC, utterances: list[Stored], watch: Stopwatch) -> dict[str, Any]:
    """Mean log-mel L1 and STOI of held-out utterances vocoded from their own features."""
    distances, scores = [], []
    for utterance in utterances:
        try:
            real, fake = _resynthesise(vc, utterance, watch)
        except VocolabError:  # shorter than the encoder or the spectrum takes: shards hold utterances of one frame too
            continue
        made, recorded = (audio.log_mel(wav, vc.sample_rate, hop=vc.vocoder.hop)[None] for wav in (fake, real))
        distances.append(float(mel_distance(made, recorded, torch.tensor([made.shape[-1]]))[0]))
        scores.append(stoi(fake, real, vc.sample_rate))
    scores = [score for score in scores if score == score]  # without NaN: speech too short for STOI
    return {"mel_l1": _mean(distances), "stoi": _mean(scores), "utterances": len(distances)}


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _resynthesise(vc: KNNVC, utterance: Stored, watch: Stopwatch) -> tuple[Tensor, Tensor]:
    """The utterance (T,) and what the vocoder makes of its features, of the same length."""
    real = audio.read(utterance.path, vc.sample_rate)[0]
    seconds = len(real) / vc.sample_rate
    feats = watch("encode", seconds, lambda: vc.get_voice([utterance.path], vad_trigger_level=0)).synthesis
    fake = watch("vocode", seconds, lambda: vc.vocode(feats[None])[0])
    length = min(len(real), len(fake))
    return real[:length], fake[:length].cpu()


def _convert(vc: KNNVC, source: Stored, voice: list[Stored], watch: Stopwatch) -> dict[str, Tensor]:
    real, fake = _resynthesise(vc, source, Stopwatch())
    reference = vc.get_voice([u.path for u in voice], vad_trigger_level=0)
    query = vc.get_features(source.path)
    converted = watch(
        "match and vocode",
        len(real) / vc.sample_rate,
        lambda: vc.match(query, reference.matching, reference.synthesis, tgt_loudness_db=None),
    )
    return {
        "source": real,
        "resynthesis": fake,
        "conversion": converted,
        "target": audio.read(voice[0].path, vc.sample_rate)[0],
    }


def _picture(wavs: dict[str, Tensor], rate: int, history: dict, utterance: Stored, speaker: str) -> Figure:
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[2, 1])[0]
    titles = {
        "source": f"source {utterance.key}, never trained on",
        "resynthesis": "resynthesis: its features, vocoded",
        "conversion": f"conversion to speaker {speaker}",
        "target": f"target voice {speaker}, another sentence",
    }
    for axes, (name, wav) in zip(left.subplots(4, 1), wavs.items(), strict=True):
        mel_axes(axes, audio.log_mel(wav, rate), titles[name])
    axes.set_xlabel("seconds", fontsize=8)
    # Losses of training, and distances of validation.
    for axes, kind in zip(right.subplots(2, 1), ("train/", "val/"), strict=True):
        curve_axes(axes, {name: points for name, points in history.items() if name.startswith(kind)})
    return figure
