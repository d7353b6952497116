"""How good a recogniser and a speaker encoder find the small text-to-speech model, on the 20 pairs of a sentence and a
voice that its recipe holds out.

Voice 3001+i says sentences 2i and 2i+1, which are known only from the other nine voices; its prompt is its own sentence
(2i+2) mod 20. A response counts as ended where it stopped by itself within a quarter of the true length.
"""

from __future__ import annotations

from pathlib import Path

from harness import arguments, record, report
from listeners import Listeners, character_error_rate
from quickstart_quality import VOICES, by_speaker, voice_prints

from vocolab import TTS, audio
from vocolab.data.corpora import Utterance
from vocolab.recipe import load_recipe

# What make quickstart-tts must reach: the error rate at most this, the others at least this.
LIMITS = {"cer": 0.25, "nearest_voice": 8, "ended": 18}


def speak(tts: TTS, splits: dict[str, list[Utterance]], seed: int) -> dict[str, float]:
    listeners = Listeners()
    known = {utterance.key: utterance for utterance in splits["train"]}
    prints = voice_prints(by_speaker(splits["train"]), listeners)
    heard, nearest, ended, stopped, ratios = [], 0, 0, 0, []
    for i, voice in enumerate(VOICES):
        pair = [u for u in splits["val"] if u.speaker == voice]
        assert [u.key[-4:] for u in pair] == [f"{2 * i:04d}", f"{2 * i + 1:04d}"], [u.key for u in pair]
        prompt = tts.get_prompt([known[f"{voice}-10-{(2 * i + 2) % 20:04d}"].path])
        texts = tts.read([u.text for u in pair])
        for utterance, spoken in zip(pair, tts.speak(texts, prompt, seed=seed), strict=True):
            truth = audio.info(utterance.path).seconds
            ratios.append(spoken.seconds / truth)
            stopped += spoken.stopped
            ended += spoken.stopped and abs(ratios[-1] - 1) <= 0.25
            heard.append((utterance.text, listeners.transcribe(spoken.wav.numpy())))
            print_of_wav = listeners.embed(spoken.wav.numpy())
            likest = max(prints, key=lambda known_voice: float(print_of_wav @ prints[known_voice]))
            nearest += likest == voice
            print(f"{utterance.key}: {ratios[-1]:.2f} of the length, like {likest}: {heard[-1][1]}")
    return {
        "cer": character_error_rate(heard),
        "nearest_voice": nearest,
        "ended": ended,
        "stopped": stopped,
        "mean_length_ratio": sum(ratios) / len(ratios),
        "pairs": len(heard),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart-tts"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tts = TTS.from_checkpoint(args.run / "checkpoints" / "last.ckpt")
    splits = load_recipe(args.run / "config.yaml").data.corpus.splits()
    figures = speak(tts, splits, args.seed)
    units = {"cer": "CER", "mean_length_ratio": "of the true length"}
    report([record(f"quickstart_tts_quality:{k}", v, units.get(k, "of 20")) for k, v in figures.items()], args.json)
    missed = [n for n, limit in LIMITS.items() if (figures[n] > limit if n == "cer" else figures[n] < limit)]
    if missed:
        raise SystemExit("; ".join(f"{name} {figures[name]:.3f}, limit {LIMITS[name]}" for name in missed))


if __name__ == "__main__":
    main()
