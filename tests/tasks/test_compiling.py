"""Language models trained with compiled backbones."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy

from tests.tasks.recording import RecordedSGD
from tests.tasks.test_ranks import TWO, fit
from tests.tasks.test_valle import SIZES, run, small_task
from tests.tasks.test_vocoder import saved
from tests.tasks.tokens import FittedNoise, NoiseCodec, Tokens
from vocolab.callbacks import EMA
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import AR, NAR, MedusaHeads, Split
from vocolab.lm.backbones import Llama, RetNet
from vocolab.recipe.loggers import RunCSV
from vocolab.tasks import MedusaTask, VALLETask
from vocolab.tasks.compiling import check_strategy


def both(compile: bool | str = False, optimizer=torch.optim.AdamW, levels=3, **more) -> VALLETask:
    seed_everything(7, verbose=False)
    ar, nar = Llama(16, 2, 1, dropout=0.0, **more), RetNet(16, 2, 1, dropout=0.0, **more)
    sizes = SIZES | {"levels": levels}
    return VALLETask(Split(AR(ar, **sizes), NAR(nar, **sizes)), optimizer, compile=compile)


def test_a_compiled_run_is_the_plain_one(tmp_path):
    """With validation on averaged weights, and resumed half way."""
    plain = run(tmp_path / "plain", both(), Tokens(), 4, callbacks=[EMA(0.9, "lm.")], val_check_interval=2)
    settings = {"val_check_interval": 2, "log_every_n_steps": 1}
    first = functools.partial(run, tmp_path / "compiled", data=Tokens(), callbacks=[EMA(0.9, "lm.")], **settings)
    first(task=both("eager"), steps=2)
    last = tmp_path / "compiled" / "checkpoints" / "last.ckpt"
    logger = RunCSV(tmp_path / "compiled")
    second = first(task=both("eager"), steps=4, resume=last, logger=logger)
    expected, found = saved(tmp_path / "plain"), saved(tmp_path / "compiled")
    assert list(found["state_dict"]) == list(expected["state_dict"])
    for name, value in expected["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert found["vocolab"]["lm"] == expected["vocolab"]["lm"]
    for name in ("val/loss", "val/loss_level_0"):
        torch.testing.assert_close(second.callback_metrics[name], plain.callback_metrics[name], rtol=1e-4, atol=1e-6)
    header, *rows = (tmp_path / "compiled" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("train/padding")
    assert all(0 < float(row.split(",")[column]) < 1 for row in rows if row.split(",")[column])
    assert any(row.split(",")[column] for row in rows)


def test_what_cannot_be_compiled_is_refused_in_a_line(tmp_path):
    data = Tokens()
    with pytest.raises(UsageError, match="Means cannot be compiled: it is not made of equal blocks"):
        run(tmp_path, small_task(compile=True), data, 1)
    with pytest.raises(VocolabError, match="cannot be compiled .*no_such_back_end.*model.compile"):
        run(tmp_path, both("no_such_back_end"), data, 1)
    for stage in (1, 2, 3):
        zero = object.__new__(DeepSpeedStrategy)  # which needs the package to be made
        zero.config = {"zero_optimization": {"stage": stage}}
        if stage < 3:
            check_strategy(zero)
        else:
            with pytest.raises(UsageError, match="ZeRO stage 3 divides the weights"):
                check_strategy(zero)
    with pytest.raises(UsageError, match="not known to work with FSDPStrategy"):
        check_strategy(object.__new__(FSDPStrategy))


def broken(graph, inputs):
    raise RuntimeError("no compiler here")


def test_a_back_end_that_fails_is_told_before_the_first_update(tmp_path):
    with pytest.raises(VocolabError, match="cannot be compiled .*no compiler here.*: set it to false"):
        run(tmp_path, both(broken), Tokens(), 1)


@pytest.mark.slow
def test_two_compiled_ranks_are_one_plain_process_that_accumulates(tmp_path: Path):
    """With two levels the NAR draws none."""
    for name, settings in {"one": {"accumulate_grad_batches": 2}, "two": TWO}.items():
        optimizer = functools.partial(RecordedSGD, folder=str(tmp_path / name))
        two = name == "two"
        task = both("aot_eager" if two else False, optimizer, levels=2, gradient_checkpointing=two)
        fit(task, Tokens(codec=NoiseCodec(2)), max_steps=3, default_root_dir=tmp_path, **settings)
    for update in range(3):
        one, two = (torch.load(tmp_path / name / f"{update}.pt") for name in ("one", "two"))
        assert len(one) == len(two) > 20
        for expected, found in zip(one, two, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_draft_heads_learn_beside_a_compiled_model(tmp_path):
    run(tmp_path / "model", both(), Tokens(codec=FittedNoise()), 2)
    results = []
    for compile in (False, "eager"):
        torch.manual_seed(3)
        task = MedusaTask(tmp_path / "model/checkpoints/last.ckpt", MedusaHeads(2), torch.optim.AdamW, compile=compile)
        run(tmp_path / f"heads{compile}", task, Tokens(codec=FittedNoise()), 3)
        results.append(saved(tmp_path / f"heads{compile}")["state_dict"])
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, atol=1e-5, rtol=1e-4, msg=name)
