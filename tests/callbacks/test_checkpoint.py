from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy

from tests.tasks.test_vocoder import assert_equal, run, saved, small_task
from vocolab.callbacks import Checkpoint
from vocolab.errors import UsageError, VocolabError


class SignalAt(Callback):
    """Sends this process a signal in the middle of an update."""

    def __init__(self, step: int, signum: int):
        self.step, self.signum = step, signum

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_saved_whole_and_goes_on(tmp_path, mel_data, signum):
    run(tmp_path / "whole", small_task(), mel_data(), 9)
    before = signal.getsignal(signum)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "parts", small_task(), mel_data(), 9, callbacks=[SignalAt(6, signum)])
    assert stopped.value.code == 128 + signum
    assert signal.getsignal(signum) is before
    assert saved(tmp_path / "parts")["global_step"] == 7
    run(tmp_path / "parts", small_task(), mel_data(), 9, resume=tmp_path / "parts" / "checkpoints" / "last.ckpt")
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert_equal(saved(tmp_path / "whole")[key], saved(tmp_path / "parts")[key], key)


def test_max_time_ends_in_a_checkpoint_of_the_last_step(tmp_path, mel_data):
    trainer = run(tmp_path, small_task(), mel_data(), 10_000, max_time="00:00:00:03", val_check_interval=100_000)
    assert 0 < trainer.global_step < 10_000
    assert saved(tmp_path)["global_step"] == trainer.global_step


def test_max_time_counts_from_each_start(tmp_path, mel_data):
    """As the time limit of a queue does; Lightning's Timer counts all runs together."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    run(tmp_path, small_task(discriminator=None), mel_data(), 2, max_time="00:01:00:00")
    checkpoint = saved(tmp_path)
    checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] = 3600.0 * 24
    torch.save(checkpoint, last)
    run(tmp_path, small_task(discriminator=None), mel_data(), 4, resume=last, max_time="00:01:00:00")
    assert saved(tmp_path)["global_step"] == 4


def test_only_the_newest_of_the_trail_stay(tmp_path, mel_data):
    task = small_task(discriminator=None)
    trainer = run(tmp_path, task, mel_data(), 30)
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("step=*"))
    assert names == ["step=00000020.ckpt", "step=00000025.ckpt", "step=00000030.ckpt"]
    assert saved(tmp_path, "step=00000025")["global_step"] == 25
    assert trainer.global_step == 30


def test_best_is_kept_when_it_gets_worse(tmp_path, mel_data):
    class Worse(Callback):
        def on_validation_start(self, trainer, module):
            if trainer.global_step > 5:
                for parameter in module.vocoder.parameters():
                    parameter.data.zero_()

    run(tmp_path, small_task(), mel_data(), 10, callbacks=[Worse()])
    assert saved(tmp_path, "best")["global_step"] == 5
    assert saved(tmp_path)["global_step"] == 10


def test_a_full_disk_leaves_the_old_file_and_one_line(tmp_path, mel_data, monkeypatch):
    run(tmp_path, small_task(), mel_data(), 5)
    old = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()

    def full(trainer, path, weights_only):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    task, checkpoint = small_task(), Checkpoint(every_n_train_steps=5)
    trainer = type("Trainer", (), {"default_root_dir": tmp_path, "save_checkpoint": full, "is_global_zero": True})()
    with pytest.raises(VocolabError, match="No space left on device.*last.ckpt.*--ckpt_path last"):
        checkpoint._save(trainer, "last")
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == old
    assert not list((tmp_path / "checkpoints").glob(".*"))
    assert isinstance(task, torch.nn.Module)


class Folders(SingleDeviceStrategy):
    """Writes a checkpoint as DeepSpeed does, into a folder."""

    def save_checkpoint(self, checkpoint, filepath, storage_options=None):
        Path(filepath).mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, Path(filepath) / "state.pt")


def test_checkpoints_may_be_folders(tmp_path, mel_data):
    """Validations fall on the updates that are saved, so each is saved twice."""
    killed = tmp_path / "checkpoints" / ".last.ckpt.tmp"
    killed.mkdir(parents=True)
    (killed / "rank-1.pt").touch()
    task = small_task(discriminator=None)
    run(tmp_path, task, mel_data(), 20, strategy=Folders("cpu"))
    names = {f"step={step:08d}.ckpt": step for step in (10, 15, 20)} | {"last.ckpt": 20}
    assert {path.name for path in killed.parent.iterdir()} == {*names, "best.ckpt"}
    for name, step in names.items():
        (file,) = (killed.parent / name).iterdir()
        state = torch.load(file, weights_only=True)
        assert state["global_step"] == step and state["callbacks"]["Checkpoint"]["best"] is not None


@pytest.mark.parametrize("arguments", [{"every_n_train_steps": 0}, {"mode": "least"}])
def test_settings_that_make_no_sense(arguments):
    with pytest.raises(UsageError, match=str(next(iter(arguments.values())))):
        Checkpoint(**arguments)


def test_a_resumed_run_knows_what_to_beat(tmp_path, mel_data):
    """The last update is saved before its own validation, whose outcome a resumed run must know."""

    class Worse(Callback):
        def on_validation_start(self, trainer, module):
            if trainer.global_step > 5:
                for parameter in module.vocoder.parameters():
                    parameter.data.zero_()

    run(tmp_path, small_task(), mel_data(), 5)
    best = saved(tmp_path)["callbacks"]["Checkpoint"]["best"]
    assert best == saved(tmp_path, "step=00000005")["callbacks"]["Checkpoint"]["best"] > 0
    last = tmp_path / "checkpoints" / "last.ckpt"
    run(tmp_path, small_task(), mel_data(), 10, resume=last, callbacks=[Worse()])
    assert saved(tmp_path, "best")["global_step"] == 5
    assert saved(tmp_path)["callbacks"]["Checkpoint"]["best"] == best


def test_an_error_between_updates_loses_none(tmp_path, mel_data):
    class Fails(Callback):
        def on_validation_end(self, trainer, module):
            raise RuntimeError("validation")

    with pytest.raises(RuntimeError, match="validation"):
        run(tmp_path, small_task(), mel_data(), 9, val_check_interval=3, callbacks=[Fails()])
    assert saved(tmp_path)["global_step"] == 3


def test_an_error_within_an_update_leaves_the_last_whole_one(tmp_path, mel_data):
    class Fails(Callback):
        def on_before_backward(self, trainer, module, loss):
            if trainer.global_step == 7:
                raise RuntimeError("update")

    with pytest.raises(RuntimeError, match="update"):
        run(tmp_path, small_task(), mel_data(), 9, callbacks=[Fails()])
    assert saved(tmp_path)["global_step"] == 5
