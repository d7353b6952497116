"""How a long text is best said: which prompt its pieces get, how much a piece holds, and what a change of speed costs.

Each of a few voices says a text of sentences that it was trained on, in pieces that are prompted by the reference (as
`TTS` does it), by the last seconds of the piece before (`tail`), or by half of each (`half`). A tail is encoded anew
from what was spoken, so that a model of the first codebook alone can be measured too. A recogniser and a speaker
encoder judge every piece.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import arguments, record, report
from listeners import VOICES, Listeners, by_speaker, character_error_rate

from vocolab import TTS
from vocolab.audio import at_speed
from vocolab.data.corpora import Utterance
from vocolab.pipelines import Prompt
from vocolab.recipe import load_recipe

SPEEDS = (0.6, 0.75, 1.25, 1.5, 1.8)
Said = list[tuple[str, torch.Tensor]]  # pieces of text, and their speech (T,)


@dataclass
class Reading:
    """A text in a voice."""

    sentences: list[str]
    prompt: Prompt
    voice: np.ndarray  # (256,) mean speaker embedding


def readings(train: list[Utterance], tts: TTS, listeners: Listeners, voices: int, sentences: int) -> list[Reading]:
    known = by_speaker(train)
    return [
        Reading(
            [u.text for u in known[voice][:sentences]],
            tts.get_prompt([known[voice][-1].path]),
            listeners.voice_print(known[voice]),
        )
        for voice in VOICES[:voices]
    ]


def say(tts: TTS, seed: int, together: int, reading: Reading) -> Said:
    """Pieces of `together` sentences, each prompted by the reference."""
    texts = [" ".join(reading.sentences[i : i + together]) for i in range(0, len(reading.sentences), together)]
    return [(t, one.wav) for t, one in zip(texts, tts.speak(tts.read(texts), reading.prompt, seed=seed), strict=True)]


def go_on(tts: TTS, seed: int, share: float, reading: Reading) -> Said:
    """Sentences of which each is prompted by the end of the one before, for `share` of the prompt's length, and by the
    reference for the rest.
    """
    prompt, length, found = reading.prompt, reading.prompt.codes.shape[1], []
    for text, ids in zip(reading.sentences, tts.read(reading.sentences), strict=True):
        wav = next(tts.speak([ids], prompt, seed=seed)).wav
        found.append((text, wav))
        tail = tts.codec.encode(wav[None].to(tts.device))[0][:, -round(share * length) :]
        prompt = Prompt(torch.cat([reading.prompt.codes[:, : length - tail.shape[1]], tail], dim=1))
    return found


def faster(tts: TTS, seed: int, speed: float, reading: Reading) -> Said:
    return [(text, at_speed(wav, tts.sample_rate, speed)) for text, wav in say(tts, seed, 1, reading)]


def judge(name: str, texts: Sequence[Reading], way: Callable[[Reading], Said], listeners: Listeners) -> list[dict]:
    """Character error rate, and similarity to the voice, over all pieces."""
    heard, alike = [], []
    for reading in texts:
        for text, wav in way(reading):
            heard.append((text, listeners.transcribe(wav.numpy())))
            alike.append(float(listeners.embed(wav.numpy()) @ reading.voice))
    found = [
        record(f"long_text_cer:{name}", character_error_rate(heard), "CER"),
        record(f"long_text_voice:{name}", statistics.mean(alike), "cosine"),
    ]
    report(found, None)
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart-tts-aligned"))
    parser.add_argument("--voices", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=8, help="of each voice")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tts, listeners = TTS.from_checkpoint(args.run / "checkpoints" / "last.ckpt"), Listeners()
    train = load_recipe(args.run / "config.yaml").data.corpus.splits()["train"]
    texts = readings(train, tts, listeners, args.voices, args.sentences)
    ways: dict[str, Callable[[Reading], Said]] = {
        "reference": partial(say, tts, args.seed, 1),
        "tail": partial(go_on, tts, args.seed, 1.0),
        "half": partial(go_on, tts, args.seed, 0.5),
        "two_sentences": partial(say, tts, args.seed, 2),
        **{f"speed_{speed:g}": partial(faster, tts, args.seed, speed) for speed in SPEEDS},
    }
    report([row for name, way in ways.items() for row in judge(name, texts, way, listeners)], args.json)


if __name__ == "__main__":
    main()
