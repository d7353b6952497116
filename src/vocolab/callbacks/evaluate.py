"""The metrics of `vocolab evaluate`, in every validation."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from vocolab import audio
from vocolab.data.batches import SpeechBatch
from vocolab.data.shards.reader import ShardReader
from vocolab.errors import UsageError, VocolabError
from vocolab.metrics import Heard, Metric, measure
from vocolab.metrics.choice import all_metrics, available, left_out_lines, named

if TYPE_CHECKING:
    from vocolab.tasks.base import Spoken, Task

log = logging.getLogger(__name__)
WHERE = "Evaluate.metrics"
# What a validation measures anyway, and what needs recordings of several voices.
ELSEWHERE = {"mel_l1": "it is in every validation of a vocoder, as val/mel_l1"}
ELSEWHERE |= dict.fromkeys(("similarity_margin", "nearest_voice", "eer"), "measure it with vocolab evaluate")
MOST = 2.0  # times the true length, where a response that does not stop is cut: a young model rarely stops
Measured = tuple[dict[str, list[float]], dict[str, str]]  # of an utterance, by metric: its numbers, or why it has none


class Evaluate(Callback):
    """Measure `count` utterances of each validation by metrics of `vocolab evaluate`, and log each as `val/NAME`.

    A vocoder speaks the features of the utterances, a language model their texts in the voices of their prompts, with
    the task's `sampling`. The utterances are the same each time, spread over the held-out speech. On several ranks each
    measures those that it validates, and the figures are of all of them. A metric whose package is missing is left out,
    which one line says. Where an `EMA` averages the weights, the average is measured.
    """

    def __init__(self, metrics: list[str], count: int = 20, recogniser: str = ""):
        """`metrics`: names, as in docs/evaluate.md. `recogniser`: of cer and wer, see `vocolab evaluate`."""
        super().__init__()
        if not metrics:
            raise UsageError("no metrics", WHERE, "name some, as [stoi, cer]")
        for name in metrics:
            if name in ELSEWHERE:
                raise UsageError(f"{name} is no metric of a validation", WHERE, f"leave it out: {ELSEWHERE[name]}")
        if count < 1:
            raise UsageError(f"count is {count}", "Evaluate.count", "give a whole number above 0")
        self.wanted = named(metrics, all_metrics(recogniser=recogniser), WHERE)
        self.count = count
        self.metrics: list[Metric] | None = None  # those that can be measured here; None: not yet known
        self._reader: ShardReader | None = None
        self._chosen: set[int] = set()  # rows of the split's index
        self._measured: list[Measured] = []
        self._said: set[str] = set()  # what was said once is not said again

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage in ("fit", "validate") and self.metrics is None:
            self.metrics, left_out = available(self.wanted)
            for line in left_out_lines(left_out):
                self._say(trainer, line)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measured = []
        reader = self._reader = trainer.val_dataloaders.dataset.reader  # type: ignore[union-attr]  # an EvaluationLoader
        rows = np.linspace(0, len(reader.index) - 1, min(self.count, len(reader.index)))
        self._chosen = {*rows.round().astype(int).tolist()}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: SpeechBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking or not self.metrics:
            return
        assert batch.rows is not None
        places = [place for place, row in enumerate(batch.rows.tolist()) if row in self._chosen]
        if not places:
            return
        try:
            self._measured += self._measure(trainer, cast("Task", pl_module), batch.select(places))
        except VocolabError as error:
            self._say(trainer, f"validation measures no speech: {error}")

    def _measure(self, trainer: Trainer, task: Task, batch: SpeechBatch) -> list[Measured]:
        assert batch.rows is not None
        start = time.perf_counter()
        with trainer.precision_plugin.forward_context():
            spoken = task.speak(batch, batch.rows, MOST)
        wavs = [one.wav.float().cpu() for one in spoken]
        rate = (time.perf_counter() - start) / max(sum(map(len, wavs)), 1)  # s of computing a sample
        found = []
        for row, one, wav in zip(batch.rows.tolist(), spoken, wavs, strict=True):
            found.append(measure(self._heard(task, row, one, wav, rate * len(wav)), self.metrics or ()))
        return found

    def _heard(self, task: Task, row: int, spoken: Spoken, wav: Tensor, took: float) -> Heard:
        assert self._reader is not None
        about = self._reader.description(row)
        recorded = torch.from_numpy(self._reader.audio(row).astype(np.float32)) / 32768
        return Heard(
            wav,
            task.sample_rate,
            audio.resample(recorded, self._reader.index.sample_rate, task.sample_rate),
            about.get("text"),
            about.get("language") or "",
            about["speaker"],
            took=took,
            stopped=spoken.stopped,
        )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not self.metrics:
            return
        measured = _of_all_ranks(self._measured, trainer.world_size)
        for metric in self.metrics:
            for why, count in Counter(why[metric.name] for _, why in measured if metric.name in why).items():
                self._say(trainer, f"val/{metric.name} could not be measured on {count} of {len(measured)}: {why}")
            numbers = [numbers[metric.name] for numbers, _ in measured if metric.name in numbers]
            if numbers:
                pl_module.log(f"val/{metric.name}", metric.pool(np.array(numbers)), prog_bar=True, sync_dist=True)

    def _say(self, trainer: Trainer, line: str) -> None:
        reason = line.partition(" on ")[0] if "could not" in line else line
        if reason not in self._said and trainer.is_global_zero:
            self._said.add(reason)
            log.warning(line)


def _of_all_ranks(measured: list[Measured], ranks: int) -> list[Measured]:
    if ranks == 1 or not (distributed.is_available() and distributed.is_initialized()):
        return measured
    gathered: list[Any] = [None] * ranks
    distributed.all_gather_object(gathered, measured)
    return [one for of_rank in gathered for one in of_rank]
