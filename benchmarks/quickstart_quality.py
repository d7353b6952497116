"""How good a recogniser and a speaker encoder find the quickstart's speech, on the utterances its recipe holds out.

Resynthesis: every held-out utterance from its own features; character errors on the English ones. Conversion among the
ten Kokoro voices: voice i reads its two held-out sentences in the voices i+1 and i+5, the reference being the target's
other sentences; similarities are cosines to the mean embedding of each voice's training speech.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from harness import arguments, record, report
from listeners import Listeners, character_error_rate

from vocolab import audio
from vocolab.data.corpora import Utterance
from vocolab.metrics import stoi
from vocolab.pipelines import KNNVC
from vocolab.recipe import load_recipe

# What the quickstart must reach: error rates (cer) at most this, the others at least this.
LIMITS = {
    "stoi": 0.85,
    "resynthesis_cer": 0.05,
    "conversion_cer": 0.10,
    "similarity_margin": 0.15,
    "nearest_voice": 16,
}
VOICES = [str(3001 + i) for i in range(10)]


def by_speaker(utterances: list[Utterance]) -> dict[str, list[Utterance]]:
    found = defaultdict(list)
    for utterance in utterances:
        found[utterance.speaker].append(utterance)
    return found


def resynthesis(vc: KNNVC, held_out: list[Utterance], listeners: Listeners) -> dict[str, float]:
    scores, heard = [], []
    for utterance in held_out:
        real = audio.read(utterance.path, vc.sample_rate)[0]
        fake = vc.vocode(vc.get_features(utterance.path)[None])[0].cpu()
        length = min(len(real), len(fake))
        scores.append(stoi(fake[:length], real[:length], vc.sample_rate))
        if utterance.language == "en":
            heard.append((utterance.text, listeners.transcribe(fake.numpy())))
    return {"stoi": float(np.nanmean(scores)), "resynthesis_cer": character_error_rate(heard)}


def voice_prints(train: dict[str, list[Utterance]], listeners: Listeners) -> dict[str, np.ndarray]:
    """Mean embedding of each Kokoro voice's training speech, unit length."""
    return {speaker: listeners.voice_print(train[speaker]) for speaker in VOICES}


def conversion(
    vc: KNNVC, held_out: list[Utterance], train: dict[str, list[Utterance]], listeners: Listeners
) -> dict[str, float]:
    prints = voice_prints(train, listeners)
    heard, margins, nearest, to_target = [], [], 0, []
    for i, speaker in enumerate(VOICES):
        sources = [u for u in held_out if u.speaker == speaker]
        assert len(sources) == 2, f"{speaker} holds out {len(sources)} sentences, not 2"
        for source, step in zip(sources, (1, 5), strict=True):
            target = VOICES[(i + step) % 10]
            reference = [u.path for u in train[target] if u.text != source.text]
            pool = vc.get_voice(reference, vad_trigger_level=0)
            wav = vc.match(vc.get_features(source.path), pool.matching, pool.synthesis, tgt_loudness_db=None).numpy()
            heard.append((source.text, listeners.transcribe(wav)))
            print_of_wav = listeners.embed(wav)
            similarity = {voice: float(print_of_wav @ known) for voice, known in prints.items()}
            to_target.append(similarity[target])
            margins.append(similarity[target] - similarity[speaker])
            nearest += max(similarity, key=similarity.get) == target
    return {
        "conversion_cer": character_error_rate(heard),
        "similarity_to_target": float(np.mean(to_target)),
        "similarity_margin": float(np.mean(margins)),
        "nearest_voice": nearest,
        "pairs": len(heard),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    args = parser.parse_args()
    vc = KNNVC.from_checkpoint(args.run / "checkpoints" / "last.ckpt")
    splits = load_recipe(args.run / "config.yaml").data.corpus.splits()
    train = by_speaker(splits["train"])
    listeners = Listeners()
    figures = resynthesis(vc, splits["val"], listeners) | conversion(vc, splits["val"], train, listeners)
    units = {"nearest_voice": "of 20", "pairs": "conversions", "stoi": "STOI"}
    report(
        [
            record(f"quickstart_quality:{k}", v, units.get(k, "CER" if k.endswith("cer") else "cosine"))
            for k, v in figures.items()
        ],
        args.json,
    )
    missed = [n for n, limit in LIMITS.items() if (figures[n] > limit if n.endswith("cer") else figures[n] < limit)]
    if missed:
        raise SystemExit("; ".join(f"{name} {figures[name]:.3f}, limit {LIMITS[name]}" for name in missed))


if __name__ == "__main__":
    main()
