"""Speech of a text as a stream: how soon the first sound is there and what a second of speech costs, for three lengths
of text, 1 and 8 texts at a time, against `speak`, which gives the same text at once. The quickstart's text-to-speech
model.

Before anything is timed, a stream must say the same first codebook as `speak`, and a stream with all of the text ahead
the same speech. So that both sides compute the same, no text ends by itself: each is cut after as many frames as its
length takes. With --listen, the 20 pairs that the recipe holds out are said at several settings: the character error
rate, and the share of codes of each level that are those of the text said at once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from harness import arguments, record, report, wait
from listeners import VOICES, Listeners, character_error_rate

from vocolab import TTS
from vocolab.lm import Sampling
from vocolab.pipelines import Prompt
from vocolab.pipelines.spoken_stream import Chunk
from vocolab.recipe import load_recipe

TOGETHER = (1, 8)
SECONDS = (2, 5, 10)  # of speech
CHARACTERS = 14  # a second of speech
TEXT = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. "
SETTINGS: list[tuple[float, float | None, float | None]] = [  # block, look-ahead, context in seconds
    *((0.4, lookahead, None) for lookahead in (0.0, 0.2, 0.4, 0.8)),
    *((block, 0.4, None) for block in (0.2, 0.8)),
    *((0.4, 0.4, context) for context in (0.0, 1.0)),
]


@dataclass
class Case:
    """Texts to be said together."""

    ids: list[list[int]]
    prompt: Prompt
    sampling: Sampling

    def chunks(self, tts: TTS, lookahead: float | None = 0.4) -> Iterator[Chunk]:
        return tts.chunks(self.ids, self.prompt, self.sampling, lookahead=lookahead)

    def at_once(self, tts: TTS) -> list:
        return list(tts.speak(self.ids, self.prompt, self.sampling, batch_size=len(self.ids)))


@dataclass
class Run:
    """What a stream took, in seconds."""

    first: float  # until each of the texts has a sound
    whole: float
    gap: float  # the longest that a player, who starts with the first sound of a text, waits for its next


def check(tts: TTS, case: Case) -> None:
    whole = case.at_once(tts)
    for lookahead in (0.4, None):
        found: list[list[Chunk]] = [[] for _ in case.ids]
        for chunk in case.chunks(tts, lookahead):
            found[chunk.number].append(chunk)
        for own, spoken in zip(found, whole, strict=True):
            codes = torch.cat([chunk.codes for chunk in own], dim=1)
            assert torch.equal(codes[0], spoken.codes[0])
            if lookahead is None:
                assert torch.equal(codes, spoken.codes)
                assert (torch.cat([chunk.wav for chunk in own]) - spoken.wav).abs().max() <= 1e-4


def streamed(tts: TTS, case: Case, device: str) -> Run:
    wait(device)
    start = time.perf_counter()
    begun: dict[int, float] = {}
    heard = [0.0] * len(case.ids)  # seconds of speech so far
    gap = 0.0
    for chunk in case.chunks(tts):
        now = time.perf_counter() - start
        if len(chunk.wav):
            begun.setdefault(chunk.number, now)
            gap = max(gap, now - begun[chunk.number] - heard[chunk.number])
            heard[chunk.number] += len(chunk.wav) / tts.sample_rate
    return Run(max(begun.values()), time.perf_counter() - start, gap)


def at_once(tts: TTS, case: Case, device: str) -> float:
    wait(device)
    start = time.perf_counter()
    case.at_once(tts)
    return time.perf_counter() - start


def cost(tts: TTS, prompt: Prompt, seconds: float, together: int, repeats: int, device: str) -> list[dict]:
    text = (TEXT * 9)[: round(CHARACTERS * seconds)]
    frames = round(seconds * tts.codec.frame_rate)
    sampling = tts.sampling_of_stream(max_ar_steps=frames, length_penalty=1000.0)
    case = Case(tts.read([text] * together), prompt, sampling)
    check(tts, case)
    runs = [(streamed(tts, case, device), at_once(tts, case, device)) for _ in range(repeats)]
    first, whole, gap = (statistics.median(getattr(run, name) for run, _ in runs) for name in ("first", "whole", "gap"))
    base = statistics.median(other for _, other in runs)
    said = seconds * together
    extra = {"seconds": seconds, "together": together, "threads": torch.get_num_threads(), "repeats": repeats}
    case_name = f"{seconds:g}s_x{together}"
    return [
        record(f"tts_stream:first_sound:{case_name}", first, "s", base, base / first, device=device, **extra),
        record(f"tts_stream:rtf:{case_name}", whole / said, "s/s", base / said, base / whole, device=device, **extra),
        record(f"tts_stream:gap:{case_name}", gap, "s", device=device, **extra),
    ]


def quality(tts: TTS, run: Path, settings: list[tuple[float, float | None, float | None]], seed: int) -> list[dict]:
    """Character error rates over the pairs that the recipe holds out (see quickstart_tts_quality), and equal codes."""
    listeners = Listeners()
    splits = load_recipe(run / "config.yaml").data.corpus.splits()
    known = {utterance.key: utterance for utterance in splits["train"]}
    pairs = []
    for i, voice in enumerate(VOICES):
        prompt = tts.get_prompt([known[f"{voice}-10-{(2 * i + 2) % 20:04d}"].path])
        pairs += [(u.text, prompt) for u in splits["val"] if u.speaker == voice]
    whole = [next(tts.speak(tts.read([text]), prompt, tts.sampling_of_stream(), seed=seed)) for text, prompt in pairs]
    truth = [text for text, _ in pairs]

    def cer(wavs: list[torch.Tensor]) -> float:
        heard = [listeners.transcribe(wav.numpy()) for wav in wavs]
        return character_error_rate(list(zip(truth, heard, strict=True)))

    rows = [record("tts_stream:cer:at_once", cer([spoken.wav for spoken in whole]), "CER", seed=seed)]
    for block, lookahead, context in settings:
        wavs, equal = [], []
        for (text, prompt), spoken in zip(pairs, whole, strict=True):
            sizes = {"block": block, "lookahead": lookahead, "context": context}
            own = list(tts.chunks(tts.read([text]), prompt, seed=seed, **sizes))
            wavs.append(torch.cat([chunk.wav for chunk in own]))
            equal.append(torch.cat([chunk.codes for chunk in own], dim=1) == spoken.codes)
        shares = torch.cat(equal, dim=1).float().mean(dim=1).tolist()
        name = ":".join("all" if size is None else f"{size:g}" for size in (block, lookahead, context))
        extra = {"block": block, "lookahead": lookahead, "context": context, "equal_codes": shares, "seed": seed}
        rows.append(record(f"tts_stream:cer:{name}", cer(wavs), "CER", **extra))
        print(rows[-1]["name"], rows[-1]["ours"], [round(share, 3) for share in shares], flush=True)
    return rows


def main() -> None:
    parser = arguments(__doc__, device=True)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart-tts-aligned"))
    parser.add_argument("--seconds", type=float, nargs="+", default=SECONDS, help="how long the texts are")
    parser.add_argument("--together", type=int, nargs="+", default=TOGETHER, help="texts at a time")
    parser.add_argument("--listen", action="store_true", help="measure what the settings do to the words instead")
    parser.add_argument("--seed", type=int, default=0, help="of what is listened to")
    args = parser.parse_args()
    tts = TTS.from_checkpoint(args.run / "checkpoints" / "last.ckpt", args.device)
    if args.listen:
        report(quality(tts, args.run, SETTINGS, args.seed), args.json)
        return
    corpus = load_recipe(args.run / "config.yaml").data.corpus.splits()
    prompt = tts.get_prompt([corpus["train"][0].path])
    rows = []
    for seconds in args.seconds:
        for together in args.together:
            rows += cost(tts, prompt, seconds, together, args.repeats, args.device)
    report(rows, args.json)


if __name__ == "__main__":
    main()
