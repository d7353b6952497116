"""The update of a vocoder as one graph: what of it a CPU can decide, and on a GPU the rest."""

from __future__ import annotations

import traceback

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.overrides import TorchFunctionMode

from tests.capturing import PROGRAMS
from tests.tasks import test_vocoder
from tests.tasks.replay import CPURecorder, Refusing
from tests.tasks.test_vocoder import assert_equal, saved, small_task
from vocolab.callbacks import EMA, Progress, Timing
from vocolab.recipe.loggers import RunCSV
from vocolab.tasks import StepDecay, VocoderTask, graph
from vocolab.tasks.graph import WARM, GraphedUpdate, obstacle
from vocolab.tasks.vocoder import Networks
from vocolab.vocoders import (
    Ensemble,
    HiFiGAN,
    LayerWeights,
    MelLoss,
    MultiPeriodDiscriminator,
    MultiResolutionSTFTDiscriminator,
    MultiScaleDiscriminator,
    channels_last,
)

# A rate and a decay that float32 holds exactly: a graph has the rate in a tensor.
SETTINGS = {"schedule": StepDecay(0.5, 4), "optimizer": lambda p: torch.optim.AdamW(p, lr=2.0**-12, fused=True)}


def run(*arguments, **settings):
    test_vocoder.run(*arguments, limit_val_batches=0, **settings)


class Logged(Callback):
    """What each update logged."""

    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, *_):
        self.rows.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")})


@pytest.fixture
def recorder(monkeypatch) -> CPURecorder:
    made = CPURecorder()
    monkeypatch.setattr(graph, "recorder_of", lambda device: made)
    return made


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == graph.__name__]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_graph_does_what_the_update_does(tmp_path, mel_data, recorder, precision):
    """Bit for bit, while rates fall, noise is drawn, the discriminator sets in and an average is kept."""
    logs = {}
    for name in ("plain", "graph"):
        task = small_task(adversarial_from=5, feature_noise=0.1, cuda_graph=name == "graph", **SETTINGS)
        logs[name] = Logged()
        run(tmp_path / name, task, mel_data(), 11, callbacks=[EMA(0.9), logs[name]], precision=precision)
    assert (recorder.ran, recorder.recorded, recorder.replayed) == (2 * WARM, 2, 11 - 2 * WARM)
    plain, replayed = saved(tmp_path / "plain"), saved(tmp_path / "graph")
    for key in ("state_dict", "ema_trained", "optimizer_states", "global_step"):
        assert_equal(plain[key], replayed[key], key)
    assert logs["plain"].rows == logs["graph"].rows and plain["global_step"] == 11
    assert len({row["train/loss"] for row in logs["graph"].rows}) == 11


def test_a_resumed_graph_goes_on_where_it_was(tmp_path, mel_data, recorder):
    """The checkpoint holds plain numbers, so a run without a graph goes on from it too."""
    parts = {"adversarial_from": 4, "cuda_graph": True, **SETTINGS}
    run(tmp_path / "whole", small_task(**parts), mel_data(), 12)
    run(tmp_path / "parts", small_task(**parts), mel_data(), 8)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    groups = [group for state in saved(tmp_path / "parts")["optimizer_states"] for group in state["param_groups"]]
    assert [group["lr"] for group in groups] == [2.0**-13] * 2 and not any(group["capturable"] for group in groups)
    run(tmp_path / "plain", small_task(**parts | {"cuda_graph": False}), mel_data(), 12, resume=last)
    run(tmp_path / "parts", small_task(**parts), mel_data(), 12, resume=last)
    for key in ("state_dict", "optimizer_states"):
        assert_equal(saved(tmp_path / "whole")[key], saved(tmp_path / "parts")[key], key)
        assert_equal(saved(tmp_path / "whole")[key], saved(tmp_path / "plain")[key], key)


def test_on_a_cpu_a_graph_has_no_effect_and_a_line_says_so(tmp_path, mel_data, caplog):
    for name in ("without", "with"):
        run(tmp_path / name, small_task(cuda_graph=name == "with"), mel_data(), 5)
    assert_equal(saved(tmp_path / "without")["state_dict"], saved(tmp_path / "with")["state_dict"])
    assert said(caplog) == ["cuda_graph has no effect: the device is cpu"]


class Watching(Callback):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        pass


@pytest.mark.parametrize(
    ("task", "trainer", "why"),
    [
        ({"max_grad_norm": 1.0}, {}, "max_grad_norm"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=1e-3)}, {}, "SGD has no fused form"),
        ({}, {"callbacks": [Watching()]}, "Watching has on_before_optimizer_step"),
    ],
)
def test_what_a_graph_cannot_do_runs_without_it(tmp_path, mel_data, recorder, caplog, task, trainer, why):
    run(tmp_path, small_task(cuda_graph=True, **task), mel_data(), 5, **trainer)
    assert (recorder.ran, recorder.recorded) == (0, 0) and saved(tmp_path)["global_step"] == 5
    (line,) = said(caplog)
    assert line.startswith("cuda_graph has no effect: ") and why in line


class Curious(MelLoss):
    """Asks for a value, which a recording forbids."""

    def forward(self, fake, real):
        loss = super().forward(fake, real)
        return loss if float(loss.detach()) >= 0 else 2 * loss


def test_a_loss_that_asks_for_a_value_cannot_be_recorded(tmp_path, mel_data, recorder, caplog):
    """The updates before and after are those without a graph. (A CPU computes while it records, but here no step.)"""
    for name in ("plain", "graph"):
        parts = {"losses": [Curious()], "adversarial_from": 100, "feature_noise": 0.1, **SETTINGS}
        task = small_task(cuda_graph=name == "graph", **parts)
        run(tmp_path / name, task, mel_data(), 6)
    assert_equal(saved(tmp_path / "plain")["state_dict"], saved(tmp_path / "graph")["state_dict"])
    (line,) = said(caplog)
    assert recorder.replayed == 0 and "the update cannot be recorded (operation not permitted" in line


def test_what_exchanges_or_scales_gradients_is_no_graph():
    """Asked of trainers that do not run: one would leave a process group behind, the other needs a GPU."""
    ranks = Trainer(accelerator="cpu", devices=2, strategy="ddp_fork", logger=False)
    assert "DDPStrategy" in obstacle(ranks, clips=False)
    half = Trainer(accelerator="cpu", logger=False)
    half.strategy.precision_plugin.scaler = torch.amp.GradScaler("cpu")
    assert "looks at the gradients" in obstacle(half, clips=False)


def test_an_update_that_cannot_be_recorded_runs_as_it_is(tmp_path, mel_data, monkeypatch, caplog):
    monkeypatch.setattr(graph, "recorder_of", Refusing)
    run(tmp_path / "refused", small_task(cuda_graph=True, **SETTINGS), mel_data(), 6)
    run(tmp_path / "plain", small_task(**SETTINGS), mel_data(), 6)
    assert_equal(saved(tmp_path / "refused")["state_dict"], saved(tmp_path / "plain")["state_dict"])
    (line,) = said(caplog)
    assert "operation not permitted when stream is capturing)" in line


class Asking(TorchFunctionMode):
    """What asks the device for a value, or sends it one that the host has."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in PROGRAMS or (func in (torch.tensor, torch.as_tensor) and (kwargs or {}).get("device") is not None):
            self.found.append("".join(traceback.format_stack(limit=9)))
        return func(*args, **(kwargs or {}))


class Between(Callback):
    """Looks from the start of an update to that of the third one after it. A checkpoint is written before and after."""

    def __init__(self):
        self.asking, self.updates = Asking(), 0

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 6:
            self.asking.__enter__()
        elif trainer.global_step == 9:
            self.asking.__exit__(None, None, None)
        self.updates += 6 <= trainer.global_step < 9


@pytest.mark.parametrize("bar", [True, False])
def test_nothing_waits_for_the_device_between_updates(tmp_path, mel_data, recorder, monkeypatch, bar):
    """With a progress bar on a terminal, times, an average, and a log of later updates."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: bar, raising=False)
    monkeypatch.setattr("vocolab.callbacks.progress.BAR", 1e9)
    between = Between()
    callbacks = [between, Timing(), EMA(0.9), Progress(every=1e9)]
    task = small_task(cuda_graph=True, **SETTINGS)
    run(tmp_path, task, mel_data(), 10, callbacks=callbacks, enable_progress_bar=True, logger=RunCSV(tmp_path))
    assert "".join(between.asking.found) == "" and between.updates == 3 and recorder.replayed == 7


class Counted:
    """An update of one weight, which tells how often it was called."""

    def __init__(self):
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.optimizer = torch.optim.AdamW([self.weight], lr=2.0**-3, fused=True)
        self.calls = 0

    def __call__(self, real, feats, adversarial):
        self.calls += 1
        loss = (self.weight * real.sum() + feats.mean()).square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}


def batches(*rows: int) -> list[tuple]:
    generator = torch.Generator().manual_seed(0)
    made = [(torch.randn(n, 4, generator=generator), torch.randn(n, 2, 3, generator=generator)) for n in rows]
    return [(*pair, False) for pair in made]


def test_every_shape_has_a_recording_of_its_own():
    plain, update, recorder = Counted(), Counted(), CPURecorder()
    graphed = GraphedUpdate(update, [update.optimizer], recorder)
    for batch in batches(*[2, 2, 3] * 4):
        assert torch.equal(graphed(*batch)["loss"], plain(*batch)["loss"])
    assert torch.equal(update.weight, plain.weight)
    assert (recorder.recorded, recorder.ran, update.calls) == (2, 2 * WARM, 2 * WARM + 2)


def test_shapes_that_never_come_again_are_not_recorded(caplog):
    update, recorder = Counted(), CPURecorder()
    graphed = GraphedUpdate(update, [update.optimizer], recorder)
    for batch in batches(2, 2, 2, 2, *range(3, 20), 2, 2, 2, 2):
        graphed(*batch)
    assert (recorder.recorded, recorder.replayed) == (1, 1) and not graphed.kinds
    assert said(caplog) == ["cuda_graph has no effect: shapes of batches or settings of optimizers change too often"]


def test_a_changed_setting_is_not_overlooked():
    """A recording holds the betas as numbers."""
    plain, update, recorder = Counted(), Counted(), CPURecorder()
    graphed = GraphedUpdate(update, [update.optimizer], recorder)
    for number, batch in enumerate(batches(*[2] * 10)):
        for optimizer in (plain.optimizer, update.optimizer):
            optimizer.param_groups[0] |= {"lr": 2.0**-number, "betas": (0.9, 0.99) if number < 5 else (0.5, 0.9)}
        assert torch.equal(graphed(*batch)["loss"], plain(*batch)["loss"])
    assert recorder.recorded == 2


class ChannelsLast(VocoderTask):
    """Takes on a CPU the networks that a GPU trains with."""

    def arranged(self):
        return Networks(channels_last.prepare(self.vocoder), channels_last.prepare(self.discriminator))


def test_the_layout_of_a_gpu_learns_the_same(tmp_path, mel_data, recorder):
    """And validates, saves and resumes under the names of the networks themselves."""
    for name, kind in (("plain", VocoderTask), ("layout", ChannelsLast)):
        seed_everything(7, verbose=False)
        vocoder = HiFiGAN(40, None, 16, resblock_kernels=(3,), resblock_dilations=((1,),))
        judges = [MultiPeriodDiscriminator((2,), (4, 8)), MultiScaleDiscriminator(2, (4, 8), (15, 5), (2, 2), (1, 4))]
        judges.append(MultiResolutionSTFTDiscriminator(((256, 60),), (4, 8), (1, 2)))
        parts = {"discriminator": Ensemble(judges), "losses": [MelLoss()], "cuda_graph": name == "layout", **SETTINGS}
        task = kind(LayerWeights(vocoder, 80), **parts)
        test_vocoder.run(tmp_path / name, task, mel_data(), 6)
    plain, layout = saved(tmp_path / "plain"), saved(tmp_path / "layout")
    assert plain["state_dict"].keys() == layout["state_dict"].keys() and recorder.replayed == 3
    for name, value in plain["state_dict"].items():
        assert (layout["state_dict"][name] - value).abs().max() < 1e-3, name
    assert layout["callbacks"]["Checkpoint"]["best"] == pytest.approx(
        plain["callbacks"]["Checkpoint"]["best"], rel=1e-3
    )


GPU = {"accelerator": "gpu", "deterministic": "warn"}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_on_a_gpu_a_graph_does_what_the_update_does(tmp_path, mel_data, monkeypatch, precision, caplog):
    """The plain side takes the same fused steps, one kernel at a time."""
    logs = {"plain": Logged(), "graph": Logged()}
    for name, log in logs.items():
        with monkeypatch.context() as patch:
            if name == "plain":
                patch.setattr(graph, "WARM", 1000)
            task = small_task(adversarial_from=6, feature_noise=0.1, cuda_graph=True, **SETTINGS)
            run(tmp_path / name, task, mel_data(), 14, callbacks=[EMA(0.9), log], precision=precision, **GPU)
    assert said(caplog) == []
    plain, replayed = saved(tmp_path / "plain"), saved(tmp_path / "graph")
    for one, two in zip(logs["plain"].rows, logs["graph"].rows, strict=True):
        assert one == pytest.approx(two, rel=1e-3 if precision == "32-true" else 0.05)
    for key in ("state_dict", "ema_trained"):
        for name, value in plain[key].items():
            assert (replayed[key][name] - value).abs().max() < 5e-3, name


@pytest.mark.gpu
def test_on_a_gpu_a_resumed_graph_goes_on_where_it_was(tmp_path, mel_data, caplog):
    parts = {"adversarial_from": 4, "cuda_graph": True, **SETTINGS}
    settings = {"precision": "bf16-mixed", **GPU}
    run(tmp_path / "whole", small_task(**parts), mel_data(), 15, **settings)
    run(tmp_path / "parts", small_task(**parts), mel_data(), 10, **settings)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    run(tmp_path / "parts", small_task(**parts), mel_data(), 15, resume=last, **settings)
    assert said(caplog) == []
    for key in ("state_dict", "optimizer_states"):
        assert_equal(saved(tmp_path / "whole")[key], saved(tmp_path / "parts")[key], key)


@pytest.mark.gpu
def test_on_a_gpu_recording_is_heard_of_once(tmp_path, mel_data, caplog):
    """An update that asks for a value of the device cannot be recorded. Those after it still draw their noise."""

    task = small_task(losses=[Curious()], feature_noise=0.1, cuda_graph=True, **SETTINGS)
    stream = torch.cuda.current_stream()
    run(tmp_path, task, mel_data(), 6, **GPU)
    assert saved(tmp_path)["global_step"] == 6 and torch.cuda.current_stream() == stream
    (line,) = said(caplog)
    assert "when stream is capturing" in line
