"""An evaluation from its beginning, or from where it was killed, to its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocolab import audio
from vocolab.errors import VocolabError, memory_told
from vocolab.evaluation.figures import check_common, differences, figures
from vocolab.evaluation.page import write_page
from vocolab.evaluation.results import by_utterance, nothing_measured, versions, write_csv, write_json
from vocolab.evaluation.rows import Row, Rows
from vocolab.evaluation.sample import Made, Sample, Subject
from vocolab.metrics import Heard, Metric, measure
from vocolab.metrics.choice import Missing

SILENT = 1e-3  # a peak of -60 dB: a recording of nothing


def evaluate(
    subject: Subject,
    metrics: Sequence[Metric],
    folder: Path,
    overwrite: bool = False,
    seed: int = 0,
    against: tuple[Path, Mapping[str, Any]] | None = None,
    left_out: Mapping[str, Missing] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> dict[str, Any]:
    """Measure each utterance of `subject` and write the results into `folder`, which is there only when all are done.

    `metrics` are loaded already. `seed`: of the intervals. `against`: another evaluation's file and results, see
    `figures.read_results`. `left_out`: metrics that were asked for, and what they lack. `on_row` is called with each
    utterance that is done. Raises `VocolabError` where nothing could be measured.
    """
    models = {name: about for metric in metrics for name, about in metric.about().items()}
    names = [metric.name for metric in metrics]
    if against:
        check_common(against[1], [sample.key for sample in subject.samples], names, against[0])
    rows = Rows(folder, {**subject.identity, "metrics": names, "models": models}, overwrite)
    try:
        for sample in subject.samples:
            if sample.key not in rows.rows:
                rows.add(_measure(sample, metrics, subject.rate, rows.folder))
            if on_row:
                on_row(rows.rows[sample.key])
        done = [rows.rows[sample.key] for sample in subject.samples]
        if why := nothing_measured(done):
            rows.drop()
            raise VocolabError(*why)
        results = _results(subject, done, metrics, seed, against) | {
            "left_out": {name: missing._asdict() for name, missing in (left_out or {}).items()},
            "models": models,
            "versions": versions(),
        }
        _write(rows, subject.samples, done, metrics, results)
    finally:
        rows.close()
    return results


def _write(
    rows: Rows, samples: Sequence[Sample], done: Sequence[Row], metrics: Sequence[Metric], results: Mapping[str, Any]
) -> None:
    spoken = [row for row in done if not row.failed]
    write_json(rows.folder / "results.json", results)
    write_csv(rows.folder / "results.csv", done, metrics)
    write_page(rows.folder / "index.html", samples, spoken, metrics, results, rows.folder / "speech")
    rows.finish()


def _results(
    subject: Subject,
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    seed: int,
    against: tuple[Path, Mapping[str, Any]] | None,
) -> dict[str, Any]:
    spoken = [row for row in rows if not row.failed]
    found, unmeasured = figures(spoken, metrics, seed)
    results: dict[str, Any] = {"metrics": found}
    if against:
        path, other = against
        results["against"] = {"file": str(path), "metrics": differences(spoken, metrics, other, seed)}
    return results | {
        "unmeasured": {name: dict(why) for name, why in unmeasured.items()},
        "failed": {row.key: row.failed for row in rows if row.failed},
        "sample_rate": subject.rate,
        "seed": seed,
        "subject": dict(subject.identity),
        "utterances": by_utterance(spoken),
    }


def _measure(sample: Sample, metrics: Sequence[Metric], rate: int, folder: Path) -> Row:
    """The row of one utterance. What is wrong with its speech is written there: the others go on."""
    try:
        made = _made(sample)
        heard = _heard(sample, made, rate)
        if sample.path is None:
            audio.write(folder / "speech" / f"{sample.key}.flac", made.wav, made.rate, overwrite=True)
    except VocolabError as error:
        return Row(sample.key, sample.task, failed=str(error))
    numbers, unmeasured = measure(heard, metrics)
    row = Row(sample.key, sample.task, numbers, unmeasured, len(made.wav) / made.rate, note=made.note)
    if heard.reference is not None:
        row.reference_seconds = len(heard.reference) / rate
    return row


@torch.inference_mode()
def _made(sample: Sample) -> Made:
    with memory_told("give shorter speech, or --device cpu", sample.key):
        return sample.make()


def _heard(sample: Sample, made: Made, rate: int) -> Heard:
    reference = None if sample.reference is None else _recording(sample.reference, rate)
    prompt = None if sample.prompt is None else _recording(sample.prompt, rate)
    return Heard(
        audio.resample(made.wav, made.rate, rate),
        rate,
        reference,
        sample.text,
        sample.language,
        sample.voice,
        prompt,
        sample.source_voice,
        made.took,
        made.stopped,
    )


def _recording(path: Path, rate: int) -> Tensor:
    """A recording (T,) that speech is held against."""
    wav, own = audio.read(path)
    if wav.abs().max() < SILENT:
        raise VocolabError("nothing but silence", path, "give a recording of speech")
    return audio.resample(wav, own, rate)
