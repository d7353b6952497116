"""The metrics of `vocolab evaluate` in validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.tasks.test_vocoder import run, saved, small_task
from vocolab.callbacks import EMA, Evaluate
from vocolab.data.shards.reader import ShardReader
from vocolab.errors import UsageError
from vocolab.metrics import stoi


class Watch(Callback):
    """What each validation gives."""

    def __init__(self):
        self.seen = []

    def on_validation_end(self, trainer, module):
        self.seen.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")})


def test_a_vocoder_s_average_is_measured_on_the_held_out_speech(tmp_path, mel_data, mel_shards):
    """As by hand, with the weights of the checkpoint; and the same after a resume."""
    watch, data = Watch(), mel_data()
    run(tmp_path, small_task(), data, 5, callbacks=[EMA(0.6), Evaluate(["stoi", "mrstft"], count=2), watch])
    task = small_task()
    task.load_state_dict(saved(tmp_path)["state_dict"])
    reader, scores = ShardReader(mel_shards, "val"), []
    assert len(reader.index) == 3
    for batch in data.val_dataloader():
        for row, spoken in zip(batch.rows.tolist(), task.eval().speak(batch.unpacked()), strict=True):
            if row in (0, 2):  # the first and the last of three
                real = torch.from_numpy(reader.audio(row).astype(np.float32)) / 32768
                scores.append(stoi(spoken.wav.detach(), real, 16000))
    assert len(scores) == 2 and watch.seen[0]["val/stoi"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert watch.seen[0]["val/mrstft"] > 0

    more, whole = Watch(), Watch()
    resume = {"resume": tmp_path / "checkpoints" / "last.ckpt", "callbacks": [EMA(0.6), Evaluate(["stoi"]), more]}
    run(tmp_path, small_task(), mel_data(), 10, **resume)
    run(tmp_path / "whole", small_task(), mel_data(), 10, callbacks=[EMA(0.6), Evaluate(["stoi"]), whole])
    assert more.seen[-1] == whole.seen[-1] and len(whole.seen) == 2


def test_two_ranks_measure_what_one_does(tmp_path, mel_data):
    found = []
    for more in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(
            accelerator="cpu", use_distributed_sampler=False, callbacks=[Evaluate(["stoi"])], **quiet, **more
        )
        torch.manual_seed(0)
        found.append(trainer.validate(small_task(), mel_data(), verbose=False)[0]["val/stoi"])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ({"metrics": ["stoy"]}, "no such metric 'stoy': Evaluate.metrics: did you mean stoi?"),
        ({"metrics": []}, "no metrics: Evaluate.metrics: name some"),
        ({"metrics": ["mel_l1"]}, "mel_l1 is no metric of a validation: Evaluate.metrics: leave it out: it is"),
        ({"metrics": ["eer"]}, "leave it out: measure it with vocolab evaluate"),
        ({"metrics": ["stoi"], "count": 0}, "count is 0: Evaluate.count"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(arguments, complaint):
    with pytest.raises(UsageError) as error:
        Evaluate(**arguments)
    assert complaint in str(error.value)
