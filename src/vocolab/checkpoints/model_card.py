"""The README.md of a model on the Hugging Face hub: what it is, how to use it, figures, licences."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocolab.errors import VocolabError

REMEDY = "give a results.json of vocolab evaluate, or the metrics.csv of a run"
FOUND = ("results.json", "metrics.csv")  # in a folder of an evaluation, of a run


@dataclass(frozen=True)
class Figures:
    """What was measured of a model."""

    source: str  # a sentence: where the rows come from
    rows: list[tuple[str, ...]]  # name, value, 95 % interval, n, unit, which direction is better


@dataclass(frozen=True)
class About:
    """What the model's file does not say."""

    figures: Figures | None = None
    licence: str = ""  # of the weights
    name: str = ""  # OWNER/NAME on the hub; else the folder's name stands in the examples


def about(figures: str | Path | None = None, licence: str = "", name: str = "") -> About:
    """`figures`: see `read_figures`."""
    return About(None if figures is None else read_figures(Path(figures)), licence, name)


def read_figures(path: Path) -> Figures:
    """The figures in an evaluation's results.json, or in a run's metrics.csv: of each `val/` the last. `path` may also
    be the folder of either. Raises `VocolabError` where it holds none.
    """
    if path.is_dir():
        path = next((path / name for name in FOUND if (path / name).is_file()), path)
    try:
        text = path.read_text(encoding="utf-8")
        found = _of_metrics(text) if path.suffix == ".csv" else _of_results(text)
    except OSError as error:
        raise VocolabError(f"cannot read the figures ({error.strerror})", path, REMEDY) from error
    except (ValueError, LookupError, TypeError, csv.Error):
        found = None
    if found is None or not found.rows:
        raise VocolabError("holds no figures", path, REMEDY)
    return found


def _of_results(text: str) -> Figures:
    rows = []
    for name, figure in json.loads(text)["metrics"].items():
        low, high = figure.get("low"), figure.get("high")
        bounds = "" if low is None else f"{low:.4g} to {high:.4g}"
        rest = (str(figure.get(key, "")) for key in ("n", "unit", "better"))
        rows.append((name, f"{figure['value']:.4g}", bounds, *rest))
    return Figures("Measured by `vocolab evaluate`; the intervals are bootstrapped over the utterances.", rows)


def _of_metrics(text: str) -> Figures:
    last: dict[str, float] = {}
    step = 0
    for row in csv.DictReader(text.splitlines()):
        values = {key: float(value) for key, value in row.items() if key and key.startswith("val/") and value}
        values = {key: value for key, value in values.items() if math.isfinite(value)}
        if values:
            last, step = last | values, int(float(row["step"])) + 1
    rows: list[tuple[str, ...]]
    rows = [(name, f"{value:.4g}", *[""] * 4) for name, value in sorted(last.items())]
    return Figures(f"The last validation of the training, after {step:,} updates.", rows)


def readme(card: Mapping[str, Any], parameters: int, about: About, folder: str) -> str:
    """The text. `parameters`: how many numbers the model has; `folder`: where it is written."""
    spoken = card["kind"] == "lm"
    name = about.name or folder
    parts = [
        _head(card, about.licence),
        f"# {name.rpartition('/')[2]}\n",
        _what(card, parameters),
        _use(name, spoken, str(card.get("codec_licence", ""))),
        *_figures(about.figures),
        _licences(card, about.licence),
    ]
    return "\n".join(parts)


def _head(card: Mapping[str, Any], licence: str) -> str:
    """The part that the hub reads, as YAML; JSON strings are YAML."""
    spoken = card["kind"] == "lm"
    lines = ["library_name: vocolab", f"pipeline_tag: {'text-to-speech' if spoken else 'audio-to-audio'}"]
    languages = [language for language in card.get("languages", []) if language]
    if languages:
        lines += ["language:", *(f"- {json.dumps(language.partition('-')[0])}" for language in languages)]
    if licence:
        lines.append(f"license: {json.dumps(licence.lower())}")
    tags = ["VALL-E", "text-to-speech"] if spoken else ["vocoder", "voice-conversion", "kNN-VC"]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---", ""])


def _what(card: Mapping[str, Any], parameters: int) -> str:
    size = f"{parameters / 1e6:.1f} million parameters" if parameters >= 1e5 else f"{parameters:,} parameters"
    if card["kind"] == "lm":
        codec = card["codec"]["class_path"].rpartition(".")[2]
        backbones = " and ".join(dict.fromkeys(_backbones(card["lm"])))
        what = (
            f"A language model of speech ({_class(card['lm'])}, {backbones}, {size}) that speaks the codes of {codec}: "
            f"{card['levels']} levels of {card['size']}, {card['sample_rate'] / card['hop']:g} frames a second, "
            f"{card['sample_rate']:,} Hz. It says a text in the voice of a few seconds of speech."
        )
        updates = card.get("statistics", {}).get("updates")
        return what + (f" Trained for {updates:,} updates.\n" if updates else "\n")
    encoder = _class(card["encoder"]) if card.get("encoder") else "an encoder that the file does not name"
    return (
        f"A vocoder ({_class(card['vocoder'])}, {size}) of features of {encoder}: a frame is {card['hop']} samples at "
        f"{card['sample_rate']:,} Hz. With the encoder it converts speech to the voice of a reference, by nearest "
        "neighbours (kNN-VC).\n"
    )


def _class(described: Mapping[str, Any]) -> str:
    return str(described["class_path"]).rpartition(".")[2]


def _backbones(described: Any) -> Iterator[str]:
    if isinstance(described, dict):
        for key, value in described.items():
            if key == "backbone":
                yield _class(value)
            else:
                yield from _backbones(value)


def _use(name: str, spoken: bool, codec_licence: str) -> str:
    if not spoken:
        python = f'vc = KNNVC.from_pretrained("{name}")\nvoice = vc.get_voice(["reference.wav"])\n'
        python = f'from vocolab import KNNVC\n\n{python}wav = vc.convert("source.wav", voice).wav'
        command = f"vocolab convert source.wav --ref reference.wav --checkpoint {name.rpartition('/')[2]} -o out.wav"
    else:
        python = f'from vocolab import TTS\n\ntts = TTS.from_pretrained("{name}")\n'
        python += 'wav = tts("What is to be said.", ref=["reference.wav"])'
        command = "vocolab synthesize 'What is to be said.' --ref reference.wav "
        command += f"--checkpoint {name.rpartition('/')[2]} -o out.wav"
    text = f"## Use\n\n```python\n{python}\n```\n\nOr, with the folder on the disk:\n\n```bash\n{command}\n```\n"
    elsewhere = "The codec's weights are not in this folder: they are read from where the configuration says, or from"
    return text + (f"\n{elsewhere} `codec=PATH` (`--codec PATH`).\n" if codec_licence else "")


def _figures(figures: Figures | None) -> list[str]:
    if figures is None:
        return []
    header = ("metric", "value", "95 % interval", "n", "unit", "better")
    filled = [i for i in range(len(header)) if i < 2 or any(row[i] for row in figures.rows)]
    lines = [[row[i].replace("|", "\\|") for i in filled] for row in (header, *figures.rows)]
    lines.insert(1, ["---"] * len(filled))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return [f"## Figures\n\n{figures.source}\n\n{table}\n"]


def _licences(card: Mapping[str, Any], licence: str) -> str:
    own = f"under {licence}" if licence else "not stated by those who made this folder: ask them before you use them"
    lines = [f"- These weights: {own}."]
    if of_codec := card.get("codec_licence"):
        codec = _class(card["codec"])
        commercial = ", not for commercial use" if "NC" in of_codec else ""
        lines.append(f"- The weights of {codec}, without which the model does not speak: {of_codec}{commercial}.")
    lines.append("- The speech that a model was trained on has a licence too, which may ask for more.")
    return "## Licences\n\n" + "\n".join(lines) + "\n"
