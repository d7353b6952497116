"""Training language models of codes: tiny networks, the real task."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import SingleDeviceStrategy

from tests.tasks.test_vocoder import assert_equal, saved
from tests.tasks.tokens import FittedNoise, Means, NoiseCodec, Tokens
from vocolab.callbacks import EMA, Checkpoint
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import AR, NAR, LanguageModel, Sampling, Split, Unified
from vocolab.lm.backbones import BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.parts import build
from vocolab.recipe.loggers import RunCSV
from vocolab.tasks import InverseSquareRoot, VALLETask, WarmupCosine
from vocolab.text import SymbolMap

SIZES = {"levels": 3, "size": 12, "symbols": 16}
FEW = SIZES | {"symbols": 12}  # a class for each, as a text_weight wants
BACKBONES = [Transformer, RetNet, Llama, Mixtral, BitNet]


def small_task(lm=None, dropout=0.0, levels=3, **arguments) -> VALLETask:
    seed_everything(7, verbose=False)
    sizes = SIZES | {"levels": levels}
    lm = lm or Split(AR(Means(16, dropout), **sizes), NAR(Means(16, dropout), **sizes))
    return VALLETask(lm, **arguments)


def run(folder: Path, task, data, steps: int, resume=None, callbacks=(), **settings) -> Trainer:
    trainer = Trainer(
        max_steps=steps,
        default_root_dir=folder,
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[Checkpoint(every_n_train_steps=5, monitor="val/loss"), *callbacks],
        **{"accelerator": "cpu", "val_check_interval": 5, "check_val_every_n_epoch": None}
        | {"num_sanity_val_steps": 0, "logger": False}
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


@pytest.mark.parametrize("kind", [Split, Unified])
def test_five_steps_and_five_more_are_ten(tmp_path, kind):
    def task():
        seed_everything(7, verbose=False)
        lm = Unified(Means(16, 0.2), **FEW, text_weight=0.5, corrupt=0.1) if kind is Unified else None
        return small_task(lm, dropout=0.2, schedule=WarmupCosine(30, 4))

    run(tmp_path / "whole", task(), Tokens(), 10, callbacks=[EMA(0.9, "lm.")])
    run(tmp_path / "parts", task(), Tokens(), 5, callbacks=[EMA(0.9, "lm.")])
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    run(tmp_path / "parts", task(), Tokens(), 10, resume=last, callbacks=[EMA(0.9, "lm.")])
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert whole["global_step"] == 10
    for key in ("state_dict", "ema_trained", "optimizer_states", "global_step", "vocolab"):
        assert_equal(whole[key], parts[key], key)
    assert whole["vocolab"]["statistics"]["tokens"] > 10 * 4 * 2


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


class Rows(Logger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.rows = []

    name = version = ""

    def log_hyperparams(self, *_, **__):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append({"step": step, **metrics})


def test_metrics_by_the_names_of_the_contract(tmp_path):
    logger = Rows()
    run(tmp_path, small_task(schedule=InverseSquareRoot(4)), Tokens(2), 10, logger=logger, log_every_n_steps=1)
    rows = [row for row in logger.rows if "train/loss" in row]
    assert [row["step"] for row in rows] == list(range(10))
    assert {"tokens_processed", "tokens_per_s", "train/lr", "train/loss_level_0", "train/acc_level_0"} <= set(rows[0])
    assert [row["train/lr"] / 3.25e-4 for row in rows[:4]] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert all(row["tokens_per_s"] > 0 and 0 <= row["train/acc_level_0"] <= 1 for row in rows)
    counts = [row["tokens_processed"] for row in rows]
    assert counts == sorted(set(counts)) and counts[0] == sum(2 * n + 1 for n in Tokens(2).batch(0).lengths.tolist())
    # Two rows draw a level each: sometimes one of the two is missing, never 0 or NaN.
    drawn = [{k for k in (1, 2) if f"train/loss_level_{k}" in row} for row in rows]
    assert {1, 2} in drawn and any(len(levels) == 1 for levels in drawn)
    assert all(2 < row[f"train/loss_level_{k}"] < 4 for row, levels in zip(rows, drawn, strict=True) for k in levels)
    validations = [row for row in logger.rows if "val/loss" in row]
    assert len(validations) == 2
    for row in validations:
        assert {f"val/{name}_level_{k}" for name in ("loss", "acc") for k in range(3)} <= set(row)
        assert row["tokens_processed"] in counts


def test_the_csv_takes_levels_that_come_and_go(tmp_path):
    run(tmp_path, small_task(), Tokens(1), 10, logger=RunCSV(tmp_path), log_every_n_steps=2)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [int(row["step"]) for row in rows] == [1, 3, 5, 7, 9]
    for row in rows:  # one row, one level
        filled = [row["train/loss_level_1"], row["train/loss_level_2"]]
        assert sum(bool(value) for value in filled) == 1 and "nan" not in filled


def test_validation_measures_all_levels_whatever_training_draws(tmp_path):
    task, data = small_task(dropout=0.5), Tokens()
    settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    first, second = (Trainer(**settings).validate(task, data, verbose=False)[0] for _ in range(2))
    assert first == second
    sums, count = 0.0, 0
    task.eval()
    with torch.no_grad():
        for batch in data.val_dataloader():
            for part, level in ((task.lm.ar, None), (task.lm.nar, 1), (task.lm.nar, 2)):
                levels = None if level is None else torch.full_like(batch.lengths, level)
                losses = part.loss(task.condition(batch), batch.codes, batch.lengths, levels)
                sums, count = sums + float(losses.total), count + int(losses.tokens)
    assert first["val/loss"] == pytest.approx(sums / count, rel=1e-5)


@pytest.mark.parametrize("kind", ["ar", "nar", "unified"])
def test_each_kind_of_model_trains(tmp_path, kind):
    seed_everything(7, verbose=False)
    lm = {"ar": AR, "nar": NAR, "unified": Unified}[kind](Means(), **SIZES)
    logger = Rows()
    run(tmp_path, small_task(lm), Tokens(), 5, logger=logger)
    levels = {int(k[-1]) for row in logger.rows for k in row if k.startswith("val/loss_level_")}
    assert levels == {"ar": {0}, "nar": {1, 2}, "unified": {0, 1, 2}}[kind]


def test_it_learns(tmp_path):
    """The text decides the first codebook: its loss falls well below that of a guess, the others' cannot."""
    logger = Rows()
    fast = lambda params: torch.optim.AdamW(params, lr=1e-2)  # noqa: E731
    seed_everything(7, verbose=False)
    ar = AR(Transformer(32, 2, 2, dropout=0.0), **SIZES)
    run(tmp_path, small_task(ar, optimizer=fast), Tokens(16, words=5), 60, val_check_interval=20, logger=logger)
    losses = [row["val/loss_level_0"] for row in logger.rows if "val/loss_level_0" in row]
    assert len(losses) == 3 and losses[-1] < 0.75 * losses[0] < 0.75 * math.log(13) + 0.2


def test_random_numbers_differ_between_the_batches_of_an_update_and_repeat_after_a_resume(tmp_path):
    class Draws(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, module, *_):
            self.seen.append(torch.initial_seed())

    draws = Draws()
    run(tmp_path, small_task(), Tokens(), 5, callbacks=[draws], accumulate_grad_batches=3)
    assert len(set(draws.seen)) == len(draws.seen) == 15
    again = Draws()
    last = tmp_path / "checkpoints" / "last.ckpt"
    run(tmp_path / "b", small_task(), Tokens(), 10, resume=last, callbacks=[again], accumulate_grad_batches=3)
    whole = Draws()
    run(tmp_path / "c", small_task(), Tokens(), 10, callbacks=[whole], accumulate_grad_batches=3)
    assert draws.seen + again.seen == whole.seen


class StopAt(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 10:  # the second batch of the fourth update
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_stops_between_the_batches_of_an_update_does_the_update_again(tmp_path):
    def go(folder, resume=None, *callbacks):
        run(tmp_path / folder, small_task(dropout=0.2), Tokens(), 6, resume, callbacks, accumulate_grad_batches=3)

    go("whole")
    with pytest.raises(SystemExit):
        go("parts", None, StopAt())
    assert saved(tmp_path / "parts")["global_step"] == 3
    go("parts", tmp_path / "parts" / "checkpoints" / "last.ckpt")
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    for key in ("state_dict", "optimizer_states", "global_step", "vocolab"):
        assert_equal(whole[key], parts[key], key)


def test_the_average_counts_updates_not_batches(tmp_path):
    history = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            history.append((trainer.global_step, module.lm.ar.sep.detach().clone()))

    task = small_task(optimizer=lambda params: torch.optim.AdamW(params, lr=0.1))  # steps too large to be rounding
    expected = task.lm.ar.sep.detach().clone()
    run(tmp_path, task, Tokens(), 3, callbacks=[Watch(), EMA(0.5, "lm.")], accumulate_grad_batches=2)
    for n in (1, 2, 3):
        weights = next(w for step, w in history if step == n)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(saved(tmp_path)["state_dict"]["lm.ar.sep"], expected)


# The longest batch


def test_the_longest_batch_is_tried_first_and_leaves_no_trace(tmp_path):
    class Watch(Tokens):
        asked = 0

        def longest_batch(self):
            Watch.asked += 1
            return super().longest_batch()

    seed_everything(7, verbose=False)
    task = small_task(dropout=0.3)
    run(tmp_path / "a", task, Watch(), 2)
    assert Watch.asked == 1
    untried = small_task(dropout=0.3)
    untried.on_fit_start = lambda: None
    run(tmp_path / "b", untried, Tokens(), 2)
    assert_equal(saved(tmp_path / "a")["state_dict"], saved(tmp_path / "b")["state_dict"])


def test_a_window_is_trained_kept_and_refused_where_it_hides_nothing(tmp_path):
    longest = int(Tokens().longest_batch().lengths.max())
    for window in (3, longest):
        lm = AR(Llama(16, 2, 1, dropout=0.0), **SIZES, window=window)
        if window == longest:
            with pytest.raises(UsageError, match=f"{longest} frames hides nothing, the longest response has {longest}"):
                run(tmp_path / "b", small_task(lm), Tokens(), 2)
        else:
            run(tmp_path / "a", small_task(lm), Tokens(), 2)
    assert build(saved(tmp_path / "a")["vocolab"]["lm"], LanguageModel).window == 3


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_comes_first_and_says_what_to_do(tmp_path, error, monkeypatch):
    task, data = small_task(), Tokens(5)
    longest = data.longest_batch()
    monkeypatch.setattr(data, "longest_batch", lambda: longest)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(task.lm.nar.backbone, "forward", fail)
    with pytest.raises(VocolabError) as raised:
        run(tmp_path, task, data, 2)
    rows, positions = len(longest.text), longest.text.shape[1] + longest.prompts.shape[2] + longest.codes.shape[2] + 4
    assert f"out of memory on the longest batch, {rows} utterances of {positions} positions" in str(raised.value)
    assert "--data.batches.tokens" in str(raised.value) and "gradient_checkpointing" in str(raised.value)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert all(p.grad is None for p in task.parameters())


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    task = small_task()

    def fail(*_, **__):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(task.lm.ar.backbone, "forward", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(tmp_path, task, Tokens(), 1)


# The checkpoint


def test_the_card_is_all_that_inference_needs(tmp_path):
    backbone = {"dim": 16, "heads": 2, "layers": 1}
    task = small_task(Split(AR(Llama(**backbone), **SIZES), NAR(RetNet(**backbone), **SIZES)))
    task.sampling = Sampling(ar_temp=0.6, top_p=0.9)
    run(tmp_path, task, Tokens(languages=("de", "en")), 3)
    card = saved(tmp_path)["vocolab"]
    assert Sampling(**card["sampling"]) == task.sampling
    assert {
        "format": 1,
        "kind": "lm",
        "levels": 3,
        "size": 12,
        "sample_rate": 16000,
        "hop": 320,
    }.items() <= card.items()
    assert card["symbols"] == [*SymbolMap().symbols, *"abcdefgh"] and card["languages"] == ["de", "en"]
    assert card["codec"]["class_path"].endswith("NoiseCodec") and "weights" in card["codec"]
    assert card["prompt_seconds"] == 0.1 and card["longest_text"] == 12 and card["statistics"]["updates"] == 3
    assert card["statistics"]["tokens"] == sum(2 * int(n) + 1 for i in range(3) for n in Tokens().batch(i).lengths)
    assert not [key for key in saved(tmp_path)["state_dict"] if not key.startswith("lm.")]
    lm = build(card["lm"], LanguageModel)
    lm.load_state_dict({k.removeprefix("lm."): v for k, v in saved(tmp_path)["state_dict"].items()})
    assert isinstance(lm, Split)


def test_a_codec_fitted_to_the_data_travels_with_the_model_and_is_not_trained(tmp_path):
    codec = FittedNoise()
    codec.extra = torch.nn.Linear(2, 2)  # as a vocoder that it received would be
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    task = small_task()
    trainer = run(tmp_path, task, Tokens(codec=codec), 3, callbacks=[EMA(0.9, "lm.")])
    state = saved(tmp_path)["state_dict"]
    assert_equal({k.removeprefix("codec."): v for k, v in state.items() if k.startswith("codec.")}, before)
    trained = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert not trained & {id(p) for p in codec.parameters()} and not any(p.requires_grad for p in codec.parameters())
    assert not task.train().codec.training


def test_other_words_for_the_same_model(tmp_path):
    """Fine-tuning keeps the meaning of the first model's symbols, whatever ids the new data gives them."""
    special = SymbolMap().symbols
    run(tmp_path / "a", small_task(), Tokens(symbols=[*special, *"abcdefgh"], languages=["en"]), 2)
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    data = Tokens(symbols=[*special, *"hdxb"], languages=["de", "en"])
    task = small_task(initialize_from=path, optimizer=Still)
    run(tmp_path / "b", task, data, 1)
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b")
    assert_equal(first["state_dict"], second["state_dict"])
    assert second["vocolab"]["symbols"] == [*special, *"abcdefghx"] and second["vocolab"]["languages"] == ["en", "de"]
    data.trainer = None
    batch = data.batch(0)
    shown, heard = batch.text[0].tolist(), task.condition(batch).text[0].tolist()
    assert [data.symbols[i] for i in shown] == [task.translation.map.symbols[i] for i in heard] and shown != heard
    # A resume keeps them too.
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    resumed = small_task(optimizer=Still)
    run(tmp_path / "b", resumed, Tokens(symbols=[*special, *"hdxb"], languages=["de", "en"]), 2, resume=last)
    assert resumed.translation.map.symbols == [*special, *"abcdefghx"]


def test_what_fine_tuning_refuses(tmp_path):
    run(tmp_path / "a", small_task(), Tokens(), 1)
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    with pytest.raises(VocolabError, match="another codec"):
        run(tmp_path / "b", small_task(initialize_from=path), Tokens(codec=FittedNoise()), 1)
    many = [*SymbolMap().symbols, *"ijklmnop"]  # 8 known, 8 new, 16 rows
    with pytest.raises(UsageError, match="20 symbols, rows for 16"):
        run(tmp_path / "c", small_task(initialize_from=path), Tokens(symbols=many), 1)
    content = saved(tmp_path / "a")
    content["vocolab"]["kind"] = "vocoder"
    torch.save(content, tmp_path / "vocoder.ckpt")
    with pytest.raises(VocolabError, match="no language model"):
        run(tmp_path / "d", small_task(initialize_from=tmp_path / "vocoder.ckpt"), Tokens(), 1)


def test_a_resume_refuses_what_fine_tuning_refuses(tmp_path):
    run(tmp_path / "a", small_task(), Tokens(codec=FittedNoise()), 1)
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    refitted = FittedNoise()
    refitted.words += 1
    with pytest.raises(VocolabError, match="another codec.*last.ckpt.*--data.shards"):
        run(tmp_path / "b", small_task(), Tokens(codec=refitted), 2, resume=path)
    with pytest.raises(VocolabError, match="another codec.*last.ckpt.*prepare the speech"):
        run(tmp_path / "c", small_task(), Tokens(), 2, resume=path)
    content = saved(tmp_path / "a")
    content["vocolab"] = {"format": 1, "kind": "vocoder"}
    torch.save(content, tmp_path / "vocoder.ckpt")
    with pytest.raises(VocolabError, match="no language model.*vocoder.ckpt"):
        run(tmp_path / "d", small_task(), Tokens(codec=FittedNoise()), 2, resume=tmp_path / "vocoder.ckpt")


def test_more_symbols_than_rows(tmp_path):
    symbols = [*SymbolMap().symbols, *map(chr, range(97, 110))]
    both = "--model.lm.ar.symbols and --model.lm.nar.symbols: set both to 17 or more"
    with pytest.raises(UsageError, match=f"17 symbols, rows for 16: {both}"):
        run(tmp_path, small_task(), Tokens(symbols=symbols), 1)
    with pytest.raises(UsageError, match="17 symbols, rows for 16: --model.lm.symbols: set it to 17 or more"):
        run(tmp_path, small_task(AR(Means(16), **SIZES)), Tokens(symbols=symbols), 1)


@pytest.mark.parametrize(
    "field, remedy", [("prompts", "TokenBudget"), ("text", "--data.text"), ("codes", "--data.codec")]
)
def test_batches_that_lack_something(field, remedy):
    batch = dataclasses.replace(Tokens().batch(0), **{field: None})
    with pytest.raises(UsageError, match=f"without {field}.*{remedy}"):
        small_task().loss(batch)


# One line of YAML each


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_bf16_trains(tmp_path, backbone, precision):
    train_in_bf16(tmp_path, backbone, precision, accelerator="cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("backbone", BACKBONES)
def test_bf16_trains_on_a_gpu(tmp_path, backbone):
    train_in_bf16(tmp_path, backbone, "bf16-mixed", accelerator="gpu")


def train_in_bf16(folder: Path, backbone, precision: str, accelerator: str) -> None:
    """Two updates of a backbone as AR and NAR, and as Unified, from an even guess on."""
    more = {"experts": 2} if backbone is Mixtral else {}
    network = lambda: backbone(16, 2, 1, 32, dropout=0.0, **more)  # noqa: E731
    kinds = {
        "split": lambda: Split(AR(network(), **SIZES), NAR(network(), **SIZES)),
        "unified": lambda: Unified(network(), **FEW, text_weight=0.5),
    }
    for kind, build_lm in kinds.items():
        seed_everything(7, verbose=False)
        task, logger = small_task(build_lm()), Rows()
        settings = {"precision": precision, "accelerator": accelerator, "gradient_clip_val": 1.0, "logger": logger}
        before = {name: value.clone() for name, value in task.lm.state_dict().items()}
        run(folder / kind, task, Tokens(), 2, log_every_n_steps=1, **settings)
        first = next(row["train/loss"] for row in logger.rows if "train/loss" in row)
        assert first == pytest.approx(math.log(13), abs=0.3)
        state = saved(folder / kind)["state_dict"]
        dtype = torch.bfloat16 if precision == "bf16-true" else torch.float32
        assert all(value.isfinite().all() and value.dtype == dtype for value in state.values())
        assert any(not torch.equal(state[f"lm.{name}"].cpu(), value.to(dtype)) for name, value in before.items())


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_of_a_fused_optimizer_are_clipped_in_bf16(tmp_path, algorithm):
    task = small_task(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0, fused=True))
    before = {name: value.detach().clone() for name, value in task.lm.named_parameters()}
    clip = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": algorithm}
    run(tmp_path, task, Tokens(), 1, precision="bf16-mixed", **clip)
    step = torch.cat([(value.detach() - before[name]).flatten() for name, value in task.lm.named_parameters()])
    size = step.norm() if algorithm == "norm" else step.abs().max()
    assert float(size) == pytest.approx(0.01, rel=1e-3)


def test_gradients_of_a_fused_optimizer_in_half_precision():
    task = small_task()
    task.trainer = Trainer(accelerator="cpu", gradient_clip_val=1.0, logger=False)
    task.trainer.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    optimizer = torch.optim.SGD(task.parameters(), lr=1.0, fused=True)
    with pytest.raises(UsageError, match="fused.*16-mixed.*model.optimizer: set fused to false.*bf16-mixed"):
        task.clip_gradients(optimizer, 1.0, "norm")


def test_a_codec_keeps_its_precision_beside_a_model_in_bf16(tmp_path):
    codec = FittedNoise()
    words = codec.words.clone()
    run(tmp_path, small_task(), Tokens(codec=codec), 2, precision="bf16-true")
    state = saved(tmp_path)["state_dict"]
    assert torch.equal(state["codec.words"], words) and state["lm.ar.classifier.weight"].dtype == torch.bfloat16
    run(tmp_path, small_task(), Tokens(codec=FittedNoise()), 4, tmp_path / "checkpoints" / "last.ckpt")


def test_eight_bit_adamw_trains(tmp_path):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    seed_everything(7, verbose=False)
    lm = AR(Means(128), levels=3, size=12, symbols=64)  # matrices of 4,096 and more are kept in 8 bits
    before = {name: value.clone() for name, value in lm.state_dict().items()}
    trainer = run(tmp_path, small_task(lm, optimizer=bitsandbytes.optim.AdamW8bit), Tokens(), 3)
    assert all(torch.isfinite(value).all() for value in lm.state_dict().values())
    assert not torch.equal(before["sep"], lm.sep)
    states = [state["state1"].dtype for state in trainer.optimizers[0].state.values()]
    assert torch.uint8 in states


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_checkpointing_changes_memory_alone(tmp_path, backbone):
    def lm(checkpointing):
        seed_everything(7, verbose=False)
        more = {"experts": 2} if backbone is Mixtral else {}
        return AR(backbone(16, 2, 2, 32, dropout=0.1, gradient_checkpointing=checkpointing, **more), **SIZES)

    plain = gradients(tmp_path / "a", lm(False), Tokens(2), 1)[0]
    saving = gradients(tmp_path / "b", lm(True), Tokens(2), 1)[0]
    for name, gradient in plain.items():
        torch.testing.assert_close(saving[name], gradient, rtol=1e-4, atol=1e-7, msg=name)


# DeepSpeed, which this machine cannot run: the contract with it


class Engine(SingleDeviceStrategy):
    """Accumulates and steps as DeepSpeed does: each loss divided by their number, gradients kept to itself."""

    handles_gradient_accumulation = True

    def optimizer_step(self, optimizer, closure, model=None, **_):
        closure()
        self.precision_plugin._after_closure(self.lightning_module, optimizer)
        self.batches = getattr(self, "batches", 0) + 1
        if self.batches % self.lightning_module.trainer.accumulate_grad_batches == 0:
            optimizer.step(lambda: None)
            optimizer.zero_grad()

    def backward(self, loss, *arguments, **more):
        return super().backward(loss / self.lightning_module.trainer.accumulate_grad_batches, *arguments, **more)


def test_an_engine_that_owns_the_gradients_gets_the_mean_over_batches(tmp_path):
    seed_everything(7, verbose=False)
    ar, logger = AR(Means(), **SIZES), Rows()
    engine = {"strategy": Engine("cpu"), "accumulate_grad_batches": 2, "logger": logger, "log_every_n_steps": 1}
    seen = gradients(tmp_path / "a", ar, Tokens(2), 2, **engine)
    alone = gradients(tmp_path / "b", ar, Tokens(2), 4)
    assert len(seen) == 2
    for name in seen[1]:
        expected = (alone[2][name] + alone[3][name]) / 2
        torch.testing.assert_close(seen[1][name], expected, rtol=1e-4, atol=1e-7, msg=name)
    assert [row["step"] for row in logger.rows if "train/loss" in row] == [0, 1]


def test_an_engine_that_owns_the_weights_has_no_average_of_them(tmp_path):
    with pytest.raises(UsageError, match="DeepSpeed keeps the weights to itself: EMA: leave it out"):
        run(tmp_path, small_task(), Tokens(), 1, strategy=Engine("cpu"), callbacks=[EMA(0.9, "lm.")])
