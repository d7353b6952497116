from __future__ import annotations

import time

import pytest
from lightning.pytorch import Callback

from tests.tasks.test_vocoder import run, saved, small_task
from vocolab.callbacks import Timing


class Watch(Callback):
    """Every metric a run logs."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, *_):
        self.seen.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("time/")})


def test_times_are_those_of_the_clock_before_and_after_a_resume(tmp_path, mel_data):
    """A run stopped in the middle of an epoch goes on counting; the pause between is no waiting."""
    start, watch = time.perf_counter(), Watch()
    run(tmp_path, small_task(), mel_data(), 3, callbacks=[Timing(), watch])
    first = saved(tmp_path)["callbacks"]["Timing"]["seconds"]
    assert 0 < first < time.perf_counter() - start
    last = tmp_path / "checkpoints" / "last.ckpt"
    run(tmp_path, small_task(), mel_data(), 6, resume=last, callbacks=[Timing(), watch])
    total = saved(tmp_path)["callbacks"]["Timing"]["seconds"]
    assert first < total < time.perf_counter() - start
    times = [m for m in watch.seen if m]
    assert times and all(0 <= m["time/data_wait"] < 5 and 0 < m["time/update"] < 60 for m in times)
    updates = sum(m["time/update"] + m["time/data_wait"] for m in times)
    assert updates <= total + 1e-3
    assert total == pytest.approx(updates, rel=0.6)  # the last update of each part is logged after the callback
