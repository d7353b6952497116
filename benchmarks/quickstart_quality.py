"""How good a recogniser and a speaker encoder find the quickstart's speech, on the utterances its recipe holds out.

It runs

    vocolab evaluate --checkpoint RUN/checkpoints/last.ckpt --corpus RUN/config.yaml \
        --conversions benchmarks/quickstart_conversions.txt -o results

Resynthesis: every held-out utterance from its own features; character errors on the English ones. Conversion among the
ten Kokoro voices: voice i reads its two held-out sentences in the voices i+1 and i+5, the reference being the target's
other sentences; similarities are cosines to the mean embedding of each voice's training speech.
"""

from __future__ import annotations

from pathlib import Path

from harness import arguments, record, report
from quality import HERE, evaluated

from vocolab.evaluation import Subject, held_out
from vocolab.evaluation.vocoder import conversion, read_conversions, resynthesis
from vocolab.pipelines import KNNVC

# What the quickstart must reach: error rates (cer) at most this, the others at least this.
LIMITS = {
    "stoi": 0.85,
    "resynthesis_cer": 0.05,
    "conversion_cer": 0.10,
    "similarity_margin": 0.15,
    "nearest_voice": 16,
}


def measure(run: Path) -> dict[str, float]:
    vc = KNNVC.from_checkpoint(run / "checkpoints" / "last.ckpt")
    held = held_out(run / "config.yaml")
    conversions = read_conversions(HERE / "quickstart_conversions.txt", held)
    samples = [*resynthesis(vc, held.utterances), *conversion(vc, conversions)]
    subject = Subject(samples, vc.sample_rate, {}, held.recordings())
    found, _ = evaluated(subject, ["stoi", "cer", "similarity", "similarity_margin", "nearest_voice"])
    pairs = len(conversions)
    return {
        "stoi": found["stoi"],
        "resynthesis_cer": found["cer"],
        "conversion_cer": found["conversion_cer"],
        "similarity_to_target": found["conversion_similarity"],
        "similarity_margin": found["conversion_similarity_margin"],
        "nearest_voice": round(found["conversion_nearest_voice"] * pairs),
        "pairs": pairs,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    args = parser.parse_args()
    figures = measure(args.run)
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
