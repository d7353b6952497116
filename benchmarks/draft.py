"""Passes of the network for a frame of the first codebook with draft heads, against plain decoding.

draft:CASE         passes, on the 20 pairs of a sentence and a voice that recipes/quickstart-tts.yaml holds out, said by
                   its model with the heads of recipes/quickstart-tts-medusa.yaml
draft_time:CASE    seconds to say the 20

CASE is `stated` (sampled as the model's card states) or `greedy`. Both sides are checked to say the same codes. Texts
are said one at a time; `--batch` 2 says the two of a voice together.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path

import torch
from harness import arguments, record, report
from listeners import VOICES

from vocolab import TTS
from vocolab.lm import Sampling
from vocolab.lm.base import Condition
from vocolab.recipe import load_recipe

LIMIT = 0.6  # passes a frame


def conditions(tts: TTS, run: Path, batch: int) -> list[Condition]:
    splits = load_recipe(run / "config.yaml").data.corpus.splits()
    known = {utterance.key: utterance for utterance in splits["train"]}
    found = []
    for i, voice in enumerate(VOICES):
        prompt = tts.get_prompt([known[f"{voice}-10-{(2 * i + 2) % 20:04d}"].path])
        texts = tts.read([u.text for u in splits["val"] if u.speaker == voice])
        found += [tts.condition(texts[k : k + batch], prompt) for k in range(0, len(texts), batch)]
    return found


@dataclasses.dataclass
class Said:
    codes: list[list[int]]
    passes: int
    seconds: float

    @property
    def passes_a_frame(self) -> float:
        return self.passes / sum(map(len, self.codes))


@torch.inference_mode()
def say(tts: TTS, texts: list[Condition], sampling: Sampling) -> Said:
    """The first codebook of each text."""
    codes, passes, began = [], 0, time.perf_counter()
    for condition in texts:
        seeds = torch.zeros(len(condition), dtype=torch.long)
        response = tts.lm.generate_first(condition, sampling, seeds, None)
        rows = zip(response.codes[:, 0].tolist(), response.lengths.tolist(), strict=True)
        codes += [row[:length] for row, length in rows]
        passes += int(response.passes.sum())
    return Said(codes, passes, time.perf_counter() - began)


def figures(name: str, tts: TTS, texts: list[Condition], sampling: Sampling, repeats: int) -> list[dict]:
    plain, drafted = [], []
    for _ in range(repeats):
        plain.append(say(tts, texts, dataclasses.replace(sampling, draft="")))
        drafted.append(say(tts, texts, dataclasses.replace(sampling, draft="medusa")))
        assert plain[-1].codes == drafted[-1].codes
    before, after = plain[0].passes_a_frame, drafted[0].passes_a_frame
    slow, fast = (statistics.median(said.seconds for said in runs) for runs in (plain, drafted))
    extra = dict(texts=len(plain[0].codes), together=len(texts[0]), sampling=dataclasses.asdict(sampling))
    return [
        record(f"draft:{name}", after, "passes a frame", before, before / after, repeats, **extra),
        record(f"draft_time:{name}", fast, "s", slow, slow / fast, repeats, **extra),
    ]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart-tts-medusa"))
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    tts = TTS.from_checkpoint(args.run / "checkpoints" / "last.ckpt")
    texts = conditions(tts, args.run, args.batch)
    rows = []
    for name, changes in {"stated": {}, "greedy": {"ar_temp": 0.0, "min_ar_temp": -1.0, "best_of": 1}}.items():
        rows += figures(name, tts, texts, dataclasses.replace(tts.default_sampling, **changes), args.repeats)
    report(rows, args.json)
    missed = [row for row in rows if row["unit"] == "passes a frame" and row["ours"] > LIMIT]
    if missed:
        raise SystemExit("; ".join(f"{row['name']} {row['ours']:.3f}, limit {LIMIT}" for row in missed))


if __name__ == "__main__":
    main()
