"""The page of an evaluation: one file with figures, players and pictures, which needs no network and may be moved."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from torch import Tensor

from vocolab import audio
from vocolab.errors import VocolabError
from vocolab.evaluation.results import number, unmeasured_lines, values_of, verdict
from vocolab.evaluation.rows import Row
from vocolab.evaluation.sample import Sample
from vocolab.files import atomic
from vocolab.metrics import Metric
from vocolab.metrics.choice import Missing, left_out_lines

PLAYERS = 100  # utterances with sound and pictures: about 100 kB each
WORST = 10
MEL_RATE = 16000  # Hz, of the pictures
TEMPLATE = Path(__file__).with_name("page.html")


def write_page(
    path: Path,
    samples: Sequence[Sample],
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    results: Mapping[str, Any],
    speech: Path,
) -> None:
    """`speech`: the folder of what a model said, KEY.flac."""
    shown = [m for m in metrics if any(m.name in row.numbers for row in rows)]
    scores = badness([values_of(row, shown) for row in rows], shown)
    by_key = {sample.key: sample for sample in samples}
    order = sorted(range(len(rows)), key=lambda i: -scores[i])
    body = [_row(rows[i], scores[i], shown, by_key[rows[i].key], speech, n < PLAYERS) for n, i in enumerate(order)]
    heads = "".join(f'<th title="{_text(m.title)}">{m.name} {_arrow(m.better)}</th>' for m in shown)
    parts = {
        "SUBJECT": _subject(results["subject"]),
        "FIGURES": _figures(results["metrics"]),
        "AGAINST": _against(results.get("against")),
        "NOTES": "".join(f"<li>{_text(note)}</li>" for note in _notes(results)),
        "HEADS": heads,
        "ROWS": "".join(body),
        "COUNT": str(len(rows)),
        "PLAYERS": str(min(PLAYERS, len(rows))),
        "WORST": str(min(WORST, len(rows))),
        "ABOUT": _about(results),
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts.items():
        page = page.replace(f"<!--{name}-->", part)
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def badness(values: Sequence[Mapping[str, float]], metrics: Sequence[Metric]) -> list[float]:
    """How bad each utterance is beside the others, from 0 to 1: the mean of its ranks by all metrics it has. Equal
    values have equal ranks.
    """
    ranks: list[list[float]] = [[] for _ in values]
    for metric in metrics:
        sign = 1.0 if metric.better == "down" else -1.0
        places = [i for i, row in enumerate(values) if metric.name in row]
        column = np.array([sign * values[i][metric.name] for i in places])
        for i, value in zip(places, column, strict=True):
            ranks[i].append(float(((column < value).sum() + (column <= value).sum() - 1) / max(2 * len(column) - 2, 1)))
    return [sum(own) / len(own) if own else 0.0 for own in ranks]


def _row(row: Row, score: float, metrics: Sequence[Metric], sample: Sample, speech: Path, heard: bool) -> str:
    values = values_of(row, metrics)
    cells = "".join(
        f'<td class=n data-v="{values[m.name]}">{number(values[m.name])}</td>'
        if m.name in values
        else "<td class=n></td>"
        for m in metrics
    )
    sounds = _sounds(sample, speech) if heard else ""
    note = f"<p class=note>{_text(row.note)}</p>" if row.note else ""
    text = f"<p>{_text(sample.text)}</p>" if sample.text else ""
    voice = f"<p class=small>voice: {_text(sample.voice)}</p>" if sample.voice else ""
    task = f" <span class=small>{_text(row.task)}</span>" if row.task else ""
    about = f"<b>{_text(row.key)}</b>{task}{text}{voice}{note}{sounds}"
    return f'<tr><td data-v="{_text(row.key)}">{about}</td><td class=n data-v="{score}">{score:.2f}</td>{cells}</tr>\n'


def _sounds(sample: Sample, speech: Path) -> str:
    """Players and mels of an utterance and of what it is held against. A file that has gone since is left out."""
    files = [("this", sample.path or speech / f"{sample.key}.flac")]
    if sample.reference is not None:
        files.append(("recording", sample.reference))
    if sample.prompt is not None:
        files.append(("voice wanted", sample.prompt))
    found = []
    for title, file in files:
        try:
            wav, rate = audio.read(file)
        except VocolabError:
            continue
        found.append(_sound(title, wav, rate))
    return f"<div class=sounds>{''.join(found)}</div>"


def _sound(title: str, wav: Tensor, rate: int) -> str:
    seconds = len(wav) / rate
    picture = _mel(audio.resample(wav, rate, MEL_RATE))
    image = "" if picture is None else f'<img alt="mel spectrogram" src="data:image/png;base64,{_base64(picture)}">'
    player = f'<audio controls preload=none src="data:audio/mpeg;base64,{_base64(mp3(wav, rate))}"></audio>'
    axis = f"<span class=small>{title}, 0 to {seconds:.1f} s, 0 to {MEL_RATE / 2000:g} kHz</span>"
    return f"<figure>{image}<figcaption>{axis}</figcaption>{player}</figure>"


def mp3(wav: Tensor, rate: int) -> bytes:
    """wav (T,) as MP3, which every browser plays."""
    if rate not in (8000, 16000, 22050, 24000, 32000, 44100, 48000):
        wav, rate = audio.resample(wav, rate, 48000 if rate > 24000 else 24000), 48000 if rate > 24000 else 24000
    encoded = io.BytesIO()
    soundfile.write(encoded, wav.clamp(-1, 1).numpy(), rate, format="MP3", subtype="MPEG_LAYER_III")
    return encoded.getvalue()


def _mel(wav: Tensor) -> bytes | None:
    """A picture of the log-mel of wav (T,) at `MEL_RATE`; None where it is too short for one."""
    from matplotlib.image import imsave

    try:
        mel = audio.log_mel(wav, MEL_RATE).numpy()
    except VocolabError:
        return None
    encoded = io.BytesIO()
    imsave(encoded, mel, vmin=mel.max() - 9.2, cmap="magma", origin="lower", format="png")  # 80 dB
    return encoded.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _subject(subject: Mapping[str, Any]) -> str:
    """What was evaluated, where it lies."""
    names = ("checkpoint", "corpus", "list", "generated", "reference", "pairs")
    return " · ".join(f"{name}: {_text(subject[name])}" for name in names if name in subject)


def _figures(figures: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, figure in figures.items():
        low, high = figure["low"], figure["high"]
        bounds = "" if low is None else f"{number(low)} to {number(high)}"
        cells = (name, number(figure["value"]), bounds, figure["n"], figure["unit"], _arrow(figure["better"]))
        told = f"{_text(figure['title'])} <span class=small>({_text(figure['source'])})</span>"
        lines.append(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}<td>{told}</td></tr>")
    return "".join(lines)


def _against(against: Mapping[str, Any] | None) -> str:
    if against is None:
        return ""
    lines = []
    for name, figure in against["metrics"].items():
        low, high = figure["low"], figure["high"]
        bounds, told = ("", "") if low is None else (f"{number(low, '+')} to {number(high, '+')}", verdict(figure))
        cells = (name, number(figure["value"], "+"), bounds, figure["n"], told)
        lines.append(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    head = "<tr><th>figure</th><th>difference</th><th>95 % interval</th><th>n</th><th></th></tr>"
    title = f"<h2>Differences from {_text(against['file'])}</h2>"
    return f"{title}<table class=plain>{head}{''.join(lines)}</table>"


def _notes(results: Mapping[str, Any]) -> list[str]:
    left_out = left_out_lines({name: Missing(**missing) for name, missing in results["left_out"].items()})
    failed = [f"{key} is not in the figures: {why}" for key, why in results["failed"].items()]
    return [*left_out, *unmeasured_lines(results), *failed]


def _about(results: Mapping[str, Any]) -> str:
    known = {**results["subject"], **results["models"], **results["versions"], "sample_rate": results["sample_rate"]}
    return "".join(f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in known.items())


def _arrow(better: str) -> str:
    return "↑" if better == "up" else "↓"


def _text(value: object) -> str:
    return html.escape(str(value))
