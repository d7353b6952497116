"""Training language models of codes: tiny networks, the real task."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything

from tests.tasks.test_vocoder import assert_equal, saved
from tests.tasks.tokens import Means, NoiseCodec, Tokens
from vocolab.callbacks import EMA, Checkpoint
from vocolab.lm import AR, NAR, Split
from vocolab.tasks import VALLETask, WarmupCosine

SIZES = {"levels": 3, "size": 12, "symbols": 16}


def small_task(lm=None, dropout=0.0, levels=3, **arguments) -> VALLETask:
    seed_everything(7, verbose=False)
    sizes = SIZES | {"levels": levels}
    lm = lm or Split(AR(Means(16, dropout), **sizes), NAR(Means(16, dropout), **sizes))
    return VALLETask(lm, **arguments)


def run(folder: Path, task, data, steps: int, resume=None, callbacks=(), **settings) -> Trainer:
    trainer = Trainer(
        max_steps=steps,
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[Checkpoint(every_n_train_steps=5, monitor="val/loss"), *callbacks],
        **{"val_check_interval": 5, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0, "logger": False}
        | settings,
    )
    trainer.fit(task, data, ckpt_path=resume, weights_only=True)
    return trainer


class Still(torch.optim.SGD):
    """Keeps the gradients of each update, as they are when the parameters would move, and moves nothing."""

    def __init__(self, params):
        super().__init__(params, lr=0.0)
        self.seen = []

    def step(self, closure=None):
        loss = closure()
        self.seen.append([None if p.grad is None else p.grad.clone() for p in self.param_groups[0]["params"]])
        return loss


def gradients(folder: Path, lm, data, updates: int, **settings) -> list[dict]:
    """By update and parameter."""
    task = small_task(lm, optimizer=Still)
    trainer = run(folder, task, data, updates, **settings)
    names = [name for name, _ in task.lm.named_parameters()]
    return [dict(zip(names, seen, strict=True)) for seen in trainer.optimizers[0].seen]


def test_ten_steps_and_ten_more_are_twenty(tmp_path):
    def task():
        return small_task(dropout=0.2, schedule=WarmupCosine(30, 4))

    run(tmp_path / "whole", task(), Tokens(), 20, callbacks=[EMA(0.9, "lm.")])
    run(tmp_path / "parts", task(), Tokens(), 10, callbacks=[EMA(0.9, "lm.")])
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    run(tmp_path / "parts", task(), Tokens(), 20, resume=last, callbacks=[EMA(0.9, "lm.")])
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert whole["global_step"] == 20
    for key in ("state_dict", "ema_trained", "optimizer_states", "global_step", "vocolab"):
        assert_equal(whole[key], parts[key], key)
    assert whole["vocolab"]["statistics"]["tokens"] > 20 * 4 * 2


def test_accumulated_batches_are_one_big_batch(tmp_path):
    """Batches of unequal numbers of tokens; with two levels the NAR draws nothing."""

    def both():
        seed_everything(7, verbose=False)
        sizes = SIZES | {"levels": 2}
        return Split(AR(Means(), **sizes), NAR(Means(), **sizes))

    big = gradients(tmp_path / "a", both(), Tokens(8, NoiseCodec(2)), 3, gradient_clip_val=1.0)
    small = gradients(
        tmp_path / "b", both(), Tokens(2, NoiseCodec(2)), 3, accumulate_grad_batches=4, gradient_clip_val=1.0
    )
    assert len(big) == len(small) == 3 and len(big[0]) > 20
    for one, parts in zip(big, small, strict=True):
        for name in one:
            torch.testing.assert_close(parts[name], one[name], rtol=1e-4, atol=1e-7, msg=name)


def test_the_gradient_is_that_of_the_mean_over_tokens(tmp_path):
    seed_everything(7, verbose=False)
    ar, data = AR(Means(), **SIZES), Tokens(4)
    seen = gradients(tmp_path, ar, data, 1)[0]
    data.trainer = None
    batch, task = data.batch(0), VALLETask(ar)
    ar.zero_grad()
    losses = ar.loss(task.condition(batch), batch.codes, batch.lengths)
    assert losses.tokens == (batch.lengths + 1).sum()
    (losses.total / losses.tokens).backward()
    for name, parameter in ar.named_parameters():
        torch.testing.assert_close(seen[name], parameter.grad, rtol=1e-5, atol=1e-8)


def test_the_last_updates_of_an_epoch_may_be_of_fewer_batches(tmp_path):
    """Five batches in twos: the third update of an epoch is of one batch, and counts no less."""
    seed_everything(7, verbose=False)
    ar = AR(Means(), **SIZES)
    seen = gradients(tmp_path, ar, Tokens(2, epoch=5), 3, accumulate_grad_batches=2)
    alone = gradients(tmp_path / "alone", ar, Tokens(2, epoch=5), 5)
    for name in seen[2]:
        torch.testing.assert_close(seen[2][name], alone[4][name], rtol=1e-5, atol=1e-8)
