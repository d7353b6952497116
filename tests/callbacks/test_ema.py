from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback

from tests.tasks.test_vocoder import run, saved, small_task
from vocolab.callbacks import EMA
from vocolab.errors import UsageError


class History(Callback):
    """The vocoder's weights after each update, and during validation."""

    def __init__(self):
        self.trained, self.validated = [], []

    def copy(self, module):
        return {name: p.detach().clone() for name, p in module.named_parameters() if name.startswith("vocoder.")}

    def on_train_batch_end(self, trainer, module, *_):
        self.trained.append(self.copy(module))

    def on_validation_batch_end(self, trainer, module, *_):
        self.validated.append(self.copy(module))


def test_the_average_is_that_of_the_definition(tmp_path, mel_data):
    history = History()
    task = small_task(optimizer=lambda params: torch.optim.AdamW(params, lr=0.01))  # steps too large to be rounding
    start = history.copy(task)
    run(tmp_path, task, mel_data(), 5, callbacks=[history, EMA(0.6)])
    expected = start
    for n, weights in enumerate(history.trained, start=1):
        d = min(0.6, (1 + n) / (10 + n))
        expected = {name: d * expected[name] + (1 - d) * weights[name] for name in expected}
    checkpoint = saved(tmp_path)
    for name, value in expected.items():
        assert torch.allclose(checkpoint["state_dict"][name], value, atol=1e-6), name
        assert torch.equal(checkpoint["ema_trained"][name], history.trained[-1][name]), name
        assert torch.allclose(history.validated[-1][name], value, atol=1e-6), "validation uses the average"
    assert not any(name.startswith("discriminator") for name in checkpoint["ema_trained"])


def test_a_part_that_is_not_there(tmp_path, mel_data):
    with pytest.raises(UsageError, match="generator"):
        run(tmp_path, small_task(), mel_data(), 1, callbacks=[EMA(prefix="generator.")])
    with pytest.raises(UsageError, match="decay is 1.5"):
        EMA(decay=1.5)
