"""Training a vocoder, with small parts on real speech."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from vocolab.callbacks import EMA, Checkpoint, Timing
from vocolab.errors import UsageError
from vocolab.pipelines import KNNVC
from vocolab.tasks import StepDecay, VocoderTask
from vocolab.vocoders import (
    Ensemble,
    HiFiGAN,
    MelLoss,
    MultiPeriodDiscriminator,
    MultiResolutionSTFTLoss,
    MultiScaleDiscriminator,
    Vocos,
)


def small_task(vocoder=None, **arguments) -> VocoderTask:
    seed_everything(7, verbose=False)
    discriminator = Ensemble(
        [
            MultiPeriodDiscriminator((2, 3), (4, 8)),
            MultiScaleDiscriminator(2, (4, 8), (15, 5), (2, 2), (1, 4)),
        ]
    )
    arguments = {"discriminator": discriminator, "losses": [MelLoss(), MultiResolutionSTFTLoss()]} | arguments
    return VocoderTask(vocoder or Vocos(80, dim=16, blocks=1, hidden=16), **arguments)


def run(
    folder: Path, task: VocoderTask, data, steps: int, resume: Path | None = None, callbacks=(), **trainer
) -> Trainer:
    settings = {"accelerator": "cpu", "val_check_interval": 5, "check_val_every_n_epoch": None}
    settings |= {"num_sanity_val_steps": 0, "logger": False, "enable_progress_bar": False} | trainer
    trainer = Trainer(
        max_steps=steps,
        default_root_dir=folder,
        devices=1,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[Checkpoint(every_n_train_steps=5), *callbacks],
        **settings,
    )
    trainer.fit(task, data, ckpt_path=resume, weights_only=True)
    return trainer


def saved(folder: Path, name: str = "last") -> dict:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_equal(one, two, where="") -> None:
    """Bit for bit, through nested containers."""
    assert type(one) is type(two), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_equal(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        for index, pair in enumerate(zip(one, two, strict=True)):
            assert_equal(*pair, f"{where}[{index}]")
    else:
        assert one == two, where


def test_five_steps_and_five_more_are_ten(tmp_path, mel_data):
    """Whatever the number of loader processes."""
    parts = {"schedule": StepDecay(0.5, 4), "adversarial_from": 3}
    run(tmp_path / "whole", small_task(**parts), mel_data(), 10, callbacks=[EMA(0.9)])
    run(tmp_path / "parts", small_task(**parts), mel_data(2), 5, callbacks=[EMA(0.9)])
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    run(tmp_path / "parts", small_task(**parts), mel_data(2), 10, resume=last, callbacks=[EMA(0.9)])
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert whole["global_step"] == 10
    for key in ("state_dict", "ema_trained", "optimizer_states", "global_step", "epoch"):
        assert_equal(whole[key], parts[key], key)
    assert_equal(saved(tmp_path / "whole", "best")["state_dict"], saved(tmp_path / "parts", "best")["state_dict"])


def test_a_scheduler_of_pytorch_resumes_too(tmp_path, mel_data):
    """One that goes up and down and turns the betas, over both optimizers."""
    schedule = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1e-2, total_steps=10)
    run(tmp_path / "whole", small_task(schedule=schedule), mel_data(), 10)
    run(tmp_path / "parts", small_task(schedule=schedule), mel_data(), 5)
    resume = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    run(tmp_path / "parts", small_task(schedule=schedule), mel_data(), 10, resume)
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert_equal(whole["state_dict"], parts["state_dict"])
    assert_equal(whole["optimizer_states"], parts["optimizer_states"])
    groups = [state["param_groups"][0] for state in whole["optimizer_states"]]
    assert len(groups) == 2 and all(group["lr"] == pytest.approx(1e-2 / 25 / 1e4) for group in groups)


def test_a_batch_is_a_step_whatever_the_number_of_optimizers(tmp_path, mel_data):
    class Count(Callback):
        batches = 0

        def on_train_batch_end(self, *_):
            Count.batches += 1

    trainer = run(tmp_path, small_task(), mel_data(), 7, callbacks=[Count()])
    assert trainer.global_step == Count.batches == 7
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "step=00000005.ckpt"]
    assert saved(tmp_path)["global_step"] == 7


def test_the_rate_depends_on_the_step_alone(tmp_path, mel_data):
    rates = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, *_):
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])

    run(tmp_path, small_task(schedule=StepDecay(0.5, 2)), mel_data(), 5, callbacks=[Watch()])
    assert rates == [[2e-4] * 2, [2e-4] * 2, [1e-4] * 2, [1e-4] * 2, [5e-5] * 2]


def test_the_discriminator_waits_until_it_is_wanted(tmp_path, mel_data):
    task = small_task(adversarial_from=3)
    before = {name: value.clone() for name, value in task.discriminator.state_dict().items()}
    run(tmp_path / "a", task, mel_data(), 3)
    assert_equal(dict(task.discriminator.state_dict()), before)
    task = small_task(adversarial_from=3)
    run(tmp_path / "b", task, mel_data(), 4)
    assert any(not torch.equal(value, before[name]) for name, value in task.discriminator.state_dict().items())
    assert all(p.requires_grad for p in task.discriminator.parameters())


def test_training_brings_the_mel_closer(tmp_path, mel_data):
    scores = []

    class Watch(Callback):
        def on_validation_end(self, trainer, *_):
            scores.append(float(trainer.callback_metrics["val/mel_l1"]))

    fast = lambda params: torch.optim.AdamW(params, lr=4e-3)  # noqa: E731
    task = small_task(Vocos(80, dim=64, blocks=2, hidden=128), discriminator=None, losses=[MelLoss()], optimizer=fast)
    run(tmp_path, task, mel_data(), 80, callbacks=[Watch()], val_check_interval=20)
    assert len(scores) == 4
    assert scores[-1] < 0.85 * scores[0]
    assert saved(tmp_path, "best")["callbacks"]["Checkpoint"]["best"] == pytest.approx(min(scores))


def test_validation_in_batches_measures_what_single_utterances_do(tmp_path, mel_data):
    """The distance counts every real frame once and no padding."""
    from vocolab.audio import log_mel
    from vocolab.data.batches import Utterances

    task = small_task(
        HiFiGAN(80, None, 16, (10, 8, 2, 2), (20, 16, 4, 4), resblock_kernels=(3,), resblock_dilations=((1,),)),
        discriminator=None,
    )
    data = mel_data()
    found = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path).validate(
        task, data, verbose=False
    )
    data.val_batches = Utterances(size=1)
    data.trainer = None
    total = frames = 0.0
    for batch in data.val_dataloader():
        batch = batch.unpacked()
        with torch.no_grad():
            fake = task.vocoder(batch.feats)
        distance = (log_mel(fake) - log_mel(batch.audio)).abs().mean(1)
        total, frames = total + float(distance.sum()), frames + distance.numel()
    # The last frames before padding see other neighbours than zeros beyond the end: a few of some hundred.
    assert found[0]["val/mel_l1"] == pytest.approx(total / frames, rel=0.01)


def test_bf16_trains(tmp_path, mel_data):
    run(tmp_path, small_task(), mel_data(), 2, precision="bf16-mixed")
    state = saved(tmp_path)["state_dict"]
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in state.values())


def test_the_checkpoint_is_all_that_inference_needs(tmp_path, mel_data, speech_file):
    task = small_task()
    run(tmp_path, task, mel_data(), 2)
    card = saved(tmp_path)["vocolab"]
    assert card["format"] == 1 and card["kind"] == "vocoder" and card["sample_rate"] == 16000 and card["hop"] == 320
    vc = KNNVC.from_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    feats = vc.get_features(speech_file)
    with torch.no_grad():
        expected = task.vocoder.eval()(feats[None])
    assert torch.allclose(vc.vocode(feats[None]), expected, atol=1e-5)


def test_times_add_up_over_a_resume(tmp_path, mel_data):
    run(tmp_path, small_task(), mel_data(), 3, callbacks=[Timing()])
    first = saved(tmp_path)["callbacks"]["Timing"]["seconds"]
    last = tmp_path / "checkpoints" / "last.ckpt"
    run(tmp_path, small_task(), mel_data(), 6, resume=last, callbacks=[Timing()])
    assert saved(tmp_path)["callbacks"]["Timing"]["seconds"] > first > 0


@pytest.mark.parametrize("setting", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}])
def test_what_two_optimizers_cannot_do_is_refused(tmp_path, mel_data, setting):
    with pytest.raises(Exception) as error:  # noqa: PT011
        run(tmp_path, small_task(), mel_data(), 2, **setting)
    assert isinstance(error.value, UsageError) or "manual optimization" in str(error.value).lower()


def test_fine_tuning_starts_from_given_weights(tmp_path, mel_data):
    run(tmp_path / "a", small_task(), mel_data(), 2)
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    task = small_task(initialize_from=path, optimizer=lambda params: torch.optim.SGD(params, lr=0.0))
    run(tmp_path / "b", task, mel_data(), 1)
    first, second = saved(tmp_path / "a")["state_dict"], saved(tmp_path / "b")["state_dict"]
    assert_equal({k: v for k, v in first.items() if "weight_u" not in k and k[-8:] != "weight_v"},
                 {k: v for k, v in second.items() if "weight_u" not in k and k[-8:] != "weight_v"})  # fmt: skip


def test_each_of_several_losses_of_a_kind_counts(tmp_path, mel_data):
    """Mel losses of several resolutions, as BigVGAN's second version has them."""
    logged = {}

    class Watch(Callback):
        def on_train_batch_end(self, trainer, *_):
            logged.update({name: float(value) for name, value in trainer.callback_metrics.items()})

    losses = [MelLoss(15, n_fft=n_fft, hop=n_fft // 4) for n_fft in (512, 1024, 2048)]
    run(tmp_path, small_task(losses=losses, discriminator=None), mel_data(), 1, callbacks=[Watch()])
    terms = [logged[f"train/{name}"] for name in ("mel_loss", "mel_loss_2", "mel_loss_3")]
    assert len(set(terms)) == 3 and logged["train/loss"] == pytest.approx(sum(terms), rel=1e-5)


def test_long_gradients_are_shortened(tmp_path, mel_data):
    """Those of both networks, before their steps: with plain SGD no step is longer than rate times norm."""
    plain = lambda params: torch.optim.SGD(params, lr=1.0)  # noqa: E731
    for name, most, expected in (("free", None, False), ("short", 0.01, True)):
        task = small_task(optimizer=plain, max_grad_norm=most)
        before = {key: value.clone() for key, value in task.named_parameters()}
        run(tmp_path / name, task, mel_data(), 1)
        for part in ("vocoder", "discriminator"):
            moved = [value - before[key] for key, value in task.named_parameters() if key.startswith(part)]
            assert (torch.cat([m.flatten() for m in moved]).norm() <= 0.0101) == expected, (name, part)
    with pytest.raises(UsageError, match="max_grad_norm is 0"):
        small_task(max_grad_norm=0.0)


def test_feature_noise_is_for_training_alone(tmp_path, mel_data):
    """The vocoder sees features of that much noise in training, and clean ones in validation."""
    seen = {True: [], False: []}

    class Listening(Vocos):
        def forward(self, feats):
            seen[self.training].append(feats.detach().clone())
            return super().forward(feats)

    task = small_task(Listening(80, dim=16, blocks=1, hidden=16), discriminator=None, feature_noise=0.5)
    run(tmp_path, task, mel_data(), 2, val_check_interval=1)
    data = mel_data()
    clean = next(iter(data.train_dataloader())).unpacked().feats
    assert abs(float((seen[True][0] - clean).std()) - 0.5) < 0.05
    held_out = next(iter(data.val_dataloader())).unpacked().feats
    assert torch.equal(held_out, seen[False][0])
    with pytest.raises(UsageError, match="feature_noise is -1"):
        small_task(feature_noise=-1.0)
