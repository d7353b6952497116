"""How good a recogniser and a speaker encoder find the small text-to-speech model, on the 20 pairs of a sentence and a
voice that its recipe holds out.

For each seed it runs

    vocolab evaluate --checkpoint RUN/checkpoints/last.ckpt --corpus RUN/config.yaml \
        --list benchmarks/quickstart_tts.lst -o results

Voice 3001+i says sentences 2i and 2i+1, which are known only from the other nine voices; its prompt is its own sentence
(2i+2) mod 20. A response counts as ended where it stopped by itself within a quarter of the true length. The figures
are means over the seeds: one seed's error rate moves by a tenth or two of itself.
"""

from __future__ import annotations

from pathlib import Path

from harness import arguments, record, report
from quality import HERE, evaluated

from vocolab import TTS
from vocolab.evaluation import Subject, held_out
from vocolab.evaluation.speech import read_list, spoken, with_voices

# What make quickstart-tts must reach: the error rate at most this, the others at least this.
LIMITS = {"cer": 0.10, "nearest_voice": 14, "ended": 18}


def measure(run: Path, seed: int) -> dict[str, float]:
    tts = TTS.from_checkpoint(run / "checkpoints" / "last.ckpt")
    held = held_out(run / "config.yaml")
    sentences = with_voices(read_list(HERE / "quickstart_tts.lst"), held)
    subject = Subject(spoken(tts, sentences, seed=seed), tts.sample_rate, {}, held.recordings())
    found, rows = evaluated(subject, ["cer", "nearest_voice", "ended", "stopped"])
    pairs = len(sentences)
    ratios = [float(row["seconds"]) / float(row["reference_seconds"]) for row in rows]
    counts = {name: round(found[name] * pairs) for name in ("nearest_voice", "ended", "stopped")}
    return {"cer": found["cer"], **counts, "mean_length_ratio": sum(ratios) / pairs, "pairs": pairs}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart-tts-aligned"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    measured = [measure(args.run, seed) for seed in args.seeds]
    for seed, figures in zip(args.seeds, measured, strict=True):
        print(f"seed {seed}: " + "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    figures = {name: sum(each[name] for each in measured) / len(measured) for name in measured[0]}
    units = {"cer": "CER", "mean_length_ratio": "of the true length"}
    report([record(f"quickstart_tts_quality:{k}", v, units.get(k, "of 20")) for k, v in figures.items()], args.json)
    missed = [n for n, limit in LIMITS.items() if (figures[n] > limit if n == "cer" else figures[n] < limit)]
    if missed:
        raise SystemExit("; ".join(f"{name} {figures[name]:.3f}, limit {LIMITS[name]}" for name in missed))


if __name__ == "__main__":
    main()
