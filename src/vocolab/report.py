"""What a trained vocoder can do, to hear, to see and in figures: the end of `make quickstart`."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from vocolab import audio
from vocolab.data.corpora import Utterance
from vocolab.errors import UsageError, VocolabError
from vocolab.files import atomic
from vocolab.metrics import mel_distance, stoi
from vocolab.pictures import mel_axes
from vocolab.pipelines import KNNVC
from vocolab.torchfile import read_torch

T = TypeVar("T")


@dataclass
class Stopwatch:
    """Seconds of computing for seconds of speech, by stage."""

    spent: dict[str, float] = field(default_factory=dict)
    speech: dict[str, float] = field(default_factory=dict)

    def __call__(self, stage: str, speech: float, function: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = function()
        self.spent[stage] = self.spent.get(stage, 0.0) + time.perf_counter() - start
        self.speech[stage] = self.speech.get(stage, 0.0) + speech
        return result

    def rtf(self) -> dict[str, float]:
        """Real-time factors: below 1 is faster than speech."""
        return {stage: round(spent / self.speech[stage], 4) for stage, spent in self.spent.items()}


def report(
    run: Path,
    checkpoint: Path | None = None,
    source: str | None = None,
    target: str | None = None,
    limit: int = 100,
    device: str = "cpu",
) -> dict[str, Any]:
    """Resynthesise and convert speech that the run never trained on; write wavs, report.png and report.json into the
    run's folder.

    `source`: key of a held-out utterance (default: the first); `target`: speaker to convert it to (default: the next
    one). Files of an earlier report are replaced.
    """
    from vocolab.recipe import load_recipe

    run = Path(run)
    recipe = load_recipe(run / "config.yaml")
    path = checkpoint or run / "checkpoints" / "last.ckpt"
    vc = KNNVC.from_checkpoint(path, device=device)
    splits = recipe.data.corpus.splits()
    held_out = splits.get("val") or splits.get("test")
    if not held_out:
        raise VocolabError("the corpus holds nothing out", run / "config.yaml", "give the corpus a val split")
    utterance = _find(held_out, source)
    voice = _choose_voice(splits["train"], utterance, target)

    watch = Stopwatch()
    measured = held_out[:: max(1, -(-len(held_out) // limit))]  # spread over the speakers
    figures = _resynthesis_figures(vc, measured, watch)
    wavs = _convert(vc, utterance, voice, watch)
    for name in ("source", "resynthesis", "conversion"):
        audio.write(run / f"{name}.wav", wavs[name], vc.sample_rate, overwrite=True)
    history = read_metrics(run / "metrics.csv")
    _picture(run / "report.png", wavs, vc.sample_rate, history, utterance, voice[0].speaker)
    results = figures | {
        "source": utterance.key,
        "target": voice[0].speaker,
        "rtf": watch.rtf(),
        **_training(path),
    }
    with atomic(run / "report.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")
    return results


def _find(utterances: list[Utterance], key: str | None) -> Utterance:
    for utterance in utterances:
        if key in (None, utterance.key):
            return utterance
    raise UsageError("no such held-out utterance", key, f"one of {', '.join(u.key for u in utterances[:5])}, …")


def _choose_voice(train: list[Utterance], source: Utterance, target: str | None) -> list[Utterance]:
    """Training utterances of the target speaker, without those that say what the source says."""
    speakers = sorted({u.speaker for u in train})
    if target is None:
        others = [s for s in speakers if s > source.speaker] or [s for s in speakers if s != source.speaker]
        target = others[0] if others else source.speaker
    voice = [u for u in train if u.speaker == target and (u.text is None or u.text != source.text)]
    if not voice:
        raise UsageError("no training speech of speaker", target, f"one of {', '.join(speakers)}")
    return voice


def _resynthesis_figures(vc: KNNVC, utterances: list[Utterance], watch: Stopwatch) -> dict[str, Any]:
    """Mean log-mel L1 and STOI of held-out utterances vocoded from their own features."""
    distances, scores = [], []
    for utterance in utterances:
        try:
            real, fake = _resynthesise(vc, utterance, watch)
        except VocolabError:  # `prepare` left it out too, and lists it with its reason in the manifest
            continue
        mels = [audio.log_mel(wav, vc.sample_rate, hop=vc.vocoder.hop)[None] for wav in (fake, real)]
        distances.append(float(mel_distance(*mels, torch.tensor([mels[0].shape[-1]]))[0]))
        scores.append(stoi(fake, real, vc.sample_rate))
    scores = [score for score in scores if score == score]  # without NaN: speech too short for STOI
    return {"mel_l1": _mean(distances), "stoi": _mean(scores), "utterances": len(distances)}


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _resynthesise(vc: KNNVC, utterance: Utterance, watch: Stopwatch) -> tuple[Tensor, Tensor]:
    """The utterance (T,) and what the vocoder makes of its features, of the same length."""
    real = audio.read(utterance.path, vc.sample_rate)[0]
    seconds = len(real) / vc.sample_rate
    feats = watch("encode", seconds, lambda: vc.get_voice([utterance.path], vad_trigger_level=0)).synthesis
    fake = watch("vocode", seconds, lambda: vc.vocode(feats[None])[0])
    length = min(len(real), len(fake))
    return real[:length], fake[:length].cpu()


def _convert(vc: KNNVC, source: Utterance, voice: list[Utterance], watch: Stopwatch) -> dict[str, Tensor]:
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


def _training(checkpoint: Path) -> dict[str, Any]:
    """Updates and seconds of training, as the checkpoint counts them."""
    saved = read_torch(checkpoint)
    timing = next((state for key, state in saved.get("callbacks", {}).items() if key.startswith("Timing")), {})
    seconds = timing.get("seconds")  # unknown to a run without the Timing callback
    return {"train_seconds": seconds and round(seconds, 1), "updates": saved.get("global_step", 0)}


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """A run's metrics.csv as {name: [(step, value), …]}."""
    history: dict[str, list[tuple[int, float]]] = {}
    if not path.exists():
        return history
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name not in ("step", "epoch"):
                    history.setdefault(name, []).append((int(float(row["step"])), float(value)))
    return history


def _picture(path: Path, wavs: dict[str, Tensor], rate: int, history: dict, utterance: Utterance, speaker: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2, 1])
    titles = {
        "source": f"source {utterance.key}, never trained on",
        "resynthesis": "resynthesis: its features, vocoded",
        "conversion": f"conversion to speaker {speaker}",
        "target": f"target voice {speaker}, another sentence",
    }
    for axes, (name, wav) in zip(left.subplots(4, 1), wavs.items(), strict=True):
        mel_axes(axes, audio.log_mel(wav, rate), titles[name], 320 / rate)
    axes.set_xlabel("seconds", fontsize=8)
    for axes, names in zip(right.subplots(2, 1), _curves(history), strict=True):
        for name in names:
            axes.plot(*zip(*history[name], strict=True), label=name, linewidth=1)
        axes.set_xlabel("updates", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if names:
            axes.legend(fontsize=7)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _curves(history: dict) -> tuple[list[str], list[str]]:
    """Names for the two plots: losses of training, and distances of validation."""
    train = [name for name in history if name.startswith("train/")]
    return train, [name for name in history if name.startswith("val/")]
