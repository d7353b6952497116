"""What a converter does with other languages, with little reference and with high voices: the tables of
docs/languages.md, by the voices of the built-in speech.

Each voice says its held-out sentences in the voices of the others, the reference being the target's other sentences.
`similarity`: cosine to the mean embedding of the target's reference (Resemblyzer), and minus that to the source's.
`cer`: character errors of Whisper tiny.en, on English sources alone: no recogniser of the other languages is at hand.
`nearest`: mean cosine of each source frame with its nearest frame in the reference: how well that covers the sounds of
the source. `f0`: correlation of the log pitch of source and result over the frames where both are voiced.
Resynthesis of the source's own features gives `stoi` and `mel_l1`: what the encoder and the vocoder alone lose.
A voice pitched up by resampling stands for children's voices (formants move with the pitch); it is no child's.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from harness import arguments, record, report
from listeners import Listeners, character_error_rate
from torch import Tensor

from vocolab import audio
from vocolab.audio import LogMel
from vocolab.data.corpora import BuiltinSpeech, Utterance
from vocolab.metrics import mel_distance, stoi
from vocolab.pipelines import KNNVC, Voice

RATE = 16000
# Speaker and chapter of each voice; those of "English, f" and "English, m" are synthetic. Spanish comes with --speech.
VOICES = {
    "English": "1001/10",
    "French": "1002/30",
    "Italian": "1003/40",
    "Russian": "1004/50",
    "English, f": "3001/10",
    "English, m": "3002/10",
}
SECONDS = (5, 15, 60, None)  # of reference; None: all
SEMITONES = (0, 6, 12)
BEGIN, END = "<!-- figures of benchmarks/languages.py -->", "<!-- end of figures -->"
COLUMNS = ("margin", "similarity", "cer", "f0", "nearest")


@dataclass
class Result:
    """Means over the conversions of one row; `cer` is None without English sources."""

    figures: dict[str, float | None]
    count: int


@dataclass
class Tally:
    """What is measured of the conversions of one row."""

    values: dict[str, list[float]] = field(default_factory=dict)
    heard: list[tuple[str, str]] = field(default_factory=list)  # English text, transcript
    count: int = 0

    def add(self, **figures: float) -> None:
        self.count += 1
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)

    def result(self) -> Result:
        figures: dict[str, float | None] = {name: float(np.nanmean(v)) for name, v in self.values.items()}
        return Result(figures | {"cer": character_error_rate(self.heard) if self.heard else None}, self.count)


class Bench:
    def __init__(self, vc: KNNVC, sentences: int, speech: Path | None):
        self.vc, self.listeners, self.log_mel = vc, Listeners(), LogMel(sample_rate=RATE, hop=vc.vocoder.hop)
        splits = BuiltinSpeech().splits()
        self.held_out = {name: chosen(splits["val"], name)[:sentences] for name in VOICES}
        self.reference = {name: chosen(splits["train"], name) for name in VOICES}
        if speech is not None:
            found = spanish(speech)
            self.held_out["Spanish"], self.reference["Spanish"] = found[:sentences], found[sentences:]
        self.pool = cache(self._pool)
        self.print = cache(self._print)
        self.source = cache(self._source)

    def _pool(self, name: str, seconds: float | None) -> Voice:
        """The target's other sentences, the first `seconds` of them."""
        joined = torch.cat([audio.read(u.path, RATE)[0] for u in self.reference[name]])
        return self.vc.get_voice(joined if seconds is None else joined[: round(seconds * RATE)], vad_trigger_level=0)

    def _print(self, name: str) -> np.ndarray:
        """Mean embedding of up to 20 reference sentences, unit length."""
        return self.listeners.voice_print(self.reference[name][:20])

    def _source(self, path: Path, semitones: int) -> tuple[Tensor, Tensor, np.ndarray]:
        """Waveform, features and pitch of a sentence, made higher by so many semitones."""
        wav = higher(audio.read(path, RATE)[0], semitones)
        return wav, self.vc.get_features(wav), pitch(wav.numpy())

    def convert(self, source: str, target: str, seconds: float | None, tally: Tally, semitones: int = 0) -> None:
        voice = self.pool(target, seconds)
        for u in self.held_out[source]:
            _, query, f0 = self.source(u.path, semitones)
            wav = self.vc.match(query, voice.matching, voice.synthesis, tgt_loudness_db=None)
            of_result = self.listeners.embed(wav.numpy())
            similarity = float(of_result @ self.print(target))
            tally.add(
                similarity=similarity,
                margin=similarity - float(of_result @ self.print(source)),
                nearest=float(nearest(query, voice.matching).mean()),
                f0=correlation(f0, pitch(wav.numpy())),
            )
            if u.language == "en":
                tally.heard.append((u.text or "", self.listeners.transcribe(wav.numpy())))

    def resynthesize(self, name: str, tally: Tally, semitones: int = 0) -> None:
        for u in self.held_out[name]:
            real, query, f0 = self.source(u.path, semitones)
            fake = self.vc.vocode(query[None])[0].cpu()
            length = min(len(real), len(fake))
            real, fake = real[:length], fake[:length]
            mels = [self.log_mel(wav[None]) for wav in (fake, real)]
            frames = torch.tensor([mels[0].shape[-1]])
            tally.add(
                stoi=stoi(fake, real, RATE),
                mel_l1=float(mel_distance(*mels, frames)[0]),
                f0=correlation(f0, pitch(fake.numpy())),
            )
            if u.language == "en":
                tally.heard.append((u.text or "", self.listeners.transcribe(fake.numpy())))


def chosen(utterances: Iterable[Utterance], name: str) -> list[Utterance]:
    speaker, chapter = VOICES[name].split("/")
    return [u for u in utterances if (u.speaker, u.chapter) == (speaker, chapter)]


def spanish(speech: Path) -> list[Utterance]:
    """Two minutes of Spanish sentences of 2 to 8 s, of a folder whose manifest.tsv names path, speaker, language and
    seconds.
    """
    with open(speech / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["language"] == "es"]
    rows = [row for row in rows if 2 <= float(row["seconds"]) <= 8][:30]
    return [Utterance(r["path"], speech / r["path"], r["path"], r["speaker"], language="es") for r in rows]


def higher(wav: Tensor, semitones: int) -> Tensor:
    """wav (T,) played faster, so that pitch and formants rise together."""
    return audio.resample(wav, round(RATE * 2 ** (semitones / 12)), RATE) if semitones else wav


def nearest(query: Tensor, pool: Tensor) -> Tensor:
    """Cosine (L,) of each frame of query (L, C) with its nearest of pool (N, C)."""
    unit = torch.nn.functional.normalize
    return (unit(query, dim=1) @ unit(pool, dim=1).T).amax(1)


def pitch(wav: np.ndarray) -> np.ndarray:
    """log2 of the fundamental frequency, each 20 ms; NaN where there is no voice (Boersma 1993, without its path)."""
    size, lags = 1024, np.arange(RATE // 900, RATE // 60)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wav, (0, size)), size)[::320] * np.hanning(size)
    correlated = _autocorrelation(frames - frames.mean(1, keepdims=True))[:, lags]  # (L, lags)
    correlated /= _autocorrelation(np.hanning(size)[None])[:, lags]
    found = (correlated - 0.02 * np.log2(lags)).argmax(1)  # of equal peaks the shortest lag: no octave below
    loud = np.sqrt((frames**2).mean(1))
    voiced = (correlated[np.arange(len(frames)), found] > 0.5) & (loud > 0.02 * loud.max())
    return np.where(voiced, np.log2(RATE / lags[found]), np.nan)


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Of each frame (L, T), 1 at lag 0."""
    power = np.abs(np.fft.rfft(frames, 2 * frames.shape[1])) ** 2
    found = np.fft.irfft(power)[:, : frames.shape[1]]
    return found / np.maximum(found[:, :1], 1e-12)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pitches over the frames where both are voiced; NaN below ten such frames."""
    length = min(len(one), len(other))
    one, other = one[:length], other[:length]
    voiced = np.isfinite(one) & np.isfinite(other)
    if voiced.sum() < 10 or one[voiced].std() == 0 or other[voiced].std() == 0:
        return float("nan")
    return float(np.corrcoef(one[voiced], other[voiced])[0, 1])


def kinds(bench: Bench) -> dict[str, Result]:
    """Within a language and across: English in the voices of all, the others in English voices and in each other's."""
    english = ["English", "English, f", "English, m"]
    others = [name for name in bench.held_out if not name.startswith("English")]
    pairs = {"English → English": [("English", "English, f"), ("English, f", "English, m"), ("English, m", "English")]}
    for language in others:
        pairs[f"English → {language}"] = [
            (source, language) for source in english if not same_speaker(source, language)
        ]
        pairs[f"{language} → English"] = [
            (language, target) for target in english if not same_speaker(language, target)
        ]
    around = list(zip(others, others[1:] + others[:1], strict=True))
    pairs["between these"] = around + [(target, source) for source, target in around]
    if "Spanish" in others:
        pairs["Spanish → English, one speaker"] = [("Spanish", "English")]
        pairs["English → Spanish, one speaker"] = [("English", "Spanish")]
    rows = {}
    for name, members in pairs.items():
        tally = Tally()
        for source, target in members:
            bench.convert(source, target, None, tally)
        rows[name] = tally.result()
        print(name, rows[name], flush=True)
    return rows


def same_speaker(one: str, other: str) -> bool:
    """Whether two voices are of Allison Smith, who speaks English and Spanish."""
    return {one, other} == {"English", "Spanish"}


def lengths(bench: Bench) -> dict[str, Result]:
    """Seconds of reference, within English and across."""
    rows = {}
    for name, members in {
        "within English": [("English, f", "English"), ("English, m", "English, f")],
        "across": [("English, f", "French"), ("English, m", "Russian"), ("Italian", "English, f")],
    }.items():
        for seconds in SECONDS:
            tally = Tally()
            for source, target in members:
                bench.convert(source, target, seconds, tally)
            rows[f"{name}, {seconds or 'all'}{' s' if seconds else ''}"] = tally.result()
    return rows


def high(bench: Bench) -> dict[str, Result]:
    """A voice pitched up, as source; and its resynthesis."""
    rows = {}
    for semitones in SEMITONES:
        tally, again = Tally(), Tally()
        for source, target in (("English, f", "English, m"), ("English", "English, f")):
            bench.convert(source, target, None, tally, semitones)
            bench.resynthesize(source, again, semitones)
        rows[f"+{semitones} semitones"] = tally.result()
        rows[f"+{semitones} semitones, resynthesis"] = again.result()
    return rows


def resynthesis(bench: Bench) -> dict[str, Result]:
    rows = {}
    for name in bench.held_out:
        tally = Tally()
        bench.resynthesize(name, tally)
        rows[name] = tally.result()
    return rows


def table(title: str, rows: dict[str, Result], columns: tuple[str, ...]) -> str:
    lines = [f"| {title} | {' | '.join(columns)} | sentences |", f"|---|{'---|' * (len(columns) + 1)}"]
    for name, row in rows.items():
        cells = [f"{v:.2f}" if (v := row.figures.get(column)) is not None else "–" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {row.count} |")
    return "\n".join(lines)


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__ or "")
    parser.add_argument("--checkpoint", type=Path, help="a converter (default: the one in the package)")
    parser.add_argument("--sentences", type=int, default=3, help="of each voice (default: 3)")
    parser.add_argument(
        "--speech", type=Path, help="a folder of more speech with a manifest.tsv, for its Spanish voice"
    )
    parser.add_argument("--page", type=Path, help="put the tables between the two marks of this page")
    args = parser.parse_args()
    vc = KNNVC.from_checkpoint(args.checkpoint) if args.checkpoint else KNNVC.pretrained()
    bench = Bench(vc, args.sentences, args.speech)
    tables = {
        "resynthesis": (resynthesis(bench), ("stoi", "mel_l1", "cer", "f0")),
        "conversion": (kinds(bench), COLUMNS),
        "reference": (lengths(bench), COLUMNS),
        "high voices": (high(bench), ("margin", "similarity", "cer", "f0", "nearest", "stoi")),
    }
    which = f"`{args.checkpoint.name}`" if args.checkpoint else "the one in the package"
    shown = f"Converter: {which}; up to {args.sentences} held-out sentences of each voice.\n\n"
    shown += "\n\n".join(table(title, *contents) for title, contents in tables.items())
    print(shown, end="\n\n")
    if args.page:
        before, _, after = (text := args.page.read_text()).partition(BEGIN)
        assert BEGIN in text and END in after, f"{args.page} lacks its marks"
        args.page.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after.partition(END)[2]}")
    units = {"cer": "CER", "stoi": "STOI", "mel_l1": "log-mel L1", "f0": "correlation"}
    records = [
        record(f"languages:{title}:{name}:{figure}", value, units.get(figure, "cosine"), repeats=row.count)
        for title, (rows, columns) in tables.items()
        for name, row in rows.items()
        for figure in columns
        if (value := row.figures.get(figure)) is not None
    ]
    report(records, args.json)


if __name__ == "__main__":
    main()
