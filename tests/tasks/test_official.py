"""Trainings that go on from the official files of HiFi-GAN and kNN-VC, and that end in them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from tests.tasks.test_vocoder import assert_equal, run, saved, small_task
from tests.test_checkpoints import equal
from vocolab.callbacks import OfficialFiles
from vocolab.checkpoints import load_vocoder
from vocolab.errors import UsageError, VocolabError
from vocolab.tasks import StepDecay
from vocolab.vocoders import Ensemble, HiFiGAN, MultiPeriodDiscriminator, MultiResolutionSTFTDiscriminator, Vocos


def gan(**arguments):
    """A task of the official parts, small."""
    torch.manual_seed(3)
    sizes = {"resblock_kernels": (3,), "resblock_dilations": ((1, 3, 5),)}
    vocoder = HiFiGAN(80, None, 16, (10, 8, 2, 2), (20, 16, 4, 4), **sizes)
    return small_task(**{"vocoder": vocoder, "schedule": StepDecay(0.5, 3)} | arguments)


@pytest.fixture(scope="module")
def halfway(tmp_path_factory, speech_folder, mel_shards) -> Path:
    """The folder of the official files of two updates."""
    from tests.conftest import _mel_data

    run_folder = tmp_path_factory.mktemp("halfway")
    run(run_folder, gan(), _mel_data(speech_folder, mel_shards), 2, callbacks=[OfficialFiles()])
    return run_folder / "checkpoints"


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_the_files_are_those_of_the_official_program(halfway):
    task = gan()
    state = read(halfway / "g_00000002.pt")
    assert list(state) == ["generator"] and list(state["generator"]) == list(task.vocoder.state_dict())
    trained = saved(halfway.parent)
    assert equal(load_vocoder(halfway / "g_00000002.pt").vocoder.state_dict(), state["generator"])
    rest = read(halfway / "do_00000002.pt")
    assert list(rest) == ["mpd", "msd", "optim_g", "optim_d", "steps", "epoch"]
    assert (rest["steps"], rest["epoch"]) == (2, 0)
    # The official optimizer has the MSD's parameters before the MPD's.
    mpd, msd = task.discriminator.members
    mpd.load_state_dict(rest["mpd"])
    msd.load_state_dict(rest["msd"])
    official = torch.optim.AdamW(itertools.chain(msd.parameters(), mpd.parameters()))
    official.load_state_dict(rest["optim_d"])
    ours = trained["optimizer_states"][1]["state"]
    for index, parameter in enumerate(task.discriminator.parameters()):
        assert torch.equal(official.state[parameter]["exp_avg"], ours[index]["exp_avg"])
    assert_equal(rest["optim_g"], trained["optimizer_states"][0])
    assert "initial_lr" in rest["optim_d"]["param_groups"][0]  # without it, the official program cannot go on


def as_of_old(folder: Path, target: Path) -> Path:
    """The files as the official program writes them: their optimizers know fewer arguments than those of today."""
    target.mkdir()
    torch.save(read(folder / "g_00000002.pt"), target / "g_00000002")
    rest = read(folder / "do_00000002.pt")
    known = ("lr", "betas", "eps", "weight_decay", "amsgrad", "initial_lr", "params")
    for key in ("optim_g", "optim_d"):
        rest[key]["param_groups"] = [{name: group[name] for name in known} for group in rest[key]["param_groups"]]
    torch.save(rest, target / "do_00000002")
    return target


@pytest.mark.parametrize("written_by", ["us", "the official program"])
def test_two_updates_and_two_more_are_four(tmp_path, halfway, mel_data, written_by):
    """Weights, optimizers, learning rates, batches and random numbers go on where they were."""
    run(tmp_path / "whole", gan(), mel_data(), 4)
    place = halfway if written_by == "us" else as_of_old(halfway, tmp_path / "theirs")
    run(tmp_path / "rest", gan(continue_from=place), mel_data(), 4)
    whole, rest = saved(tmp_path / "whole"), saved(tmp_path / "rest")
    assert whole["global_step"] == rest["global_step"] == 4
    assert_equal(whole["state_dict"], rest["state_dict"])
    assert_equal(whole["optimizer_states"], rest["optimizer_states"])
    assert whole["optimizer_states"][0]["param_groups"][0]["lr"] == 1e-4
    # A run that went on resumes like any other, whatever it began from.
    last = tmp_path / "rest" / "checkpoints" / "last.ckpt"
    run(tmp_path / "rest", gan(continue_from=place), mel_data(), 6, resume=last)
    run(tmp_path / "whole", gan(), mel_data(), 6, resume=tmp_path / "whole" / "checkpoints" / "last.ckpt")
    whole, rest = saved(tmp_path / "whole"), saved(tmp_path / "rest")
    assert whole["global_step"] == rest["global_step"] == 6
    assert_equal(whole["optimizer_states"], rest["optimizer_states"])


def test_an_argument_of_the_recipe_counts(tmp_path, halfway, mel_data, caplog):
    task = gan(continue_from=halfway, optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3, betas=(0.8, 0.99)))
    run(tmp_path, task, mel_data(), 3)
    assert "optimizer: lr 0.0002 -> 0.001 (from update 2 on)" in caplog.text
    assert saved(tmp_path)["optimizer_states"][1]["param_groups"][0]["initial_lr"] == 1e-3


def test_fine_tuning_from_a_folder_takes_both_weights_and_starts_anew(tmp_path, halfway, mel_data):
    task = gan(initialize_from=halfway, optimizer=lambda params: torch.optim.SGD(params, lr=0.0))
    run(tmp_path, task, mel_data(), 1)
    assert equal(dict(task.vocoder.state_dict()), read(halfway / "g_00000002.pt")["generator"])
    mpd = task.discriminator.members[0]
    assert equal(dict(mpd.state_dict()), read(halfway / "do_00000002.pt")["mpd"])
    assert saved(tmp_path)["global_step"] == 1


def test_files_at_intervals(tmp_path, mel_data):
    run(tmp_path, gan(discriminator=None), mel_data(), 5, callbacks=[OfficialFiles(every_n_train_steps=2)])
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.pt"))
    assert names == ["g_00000002.pt", "g_00000004.pt", "g_00000005.pt"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (None, {"discriminator": None}, "a training without discriminator"),
        (None, {"optimizer": lambda p: torch.optim.SGD(p, lr=0.1)}, "SGD cannot go on with the states of AdamW"),
        (None, {"vocoder": HiFiGAN(80, None, 16, (10, 8, 2, 2), (20, 16, 4, 4))}, "unknown|missing.*g_00000002.pt"),
        (None, {"initialize_from": "x"}, "both initialize_from and continue_from"),
        (lambda rest: rest.pop("optim_d"), {}, "holds no optim_d"),
        (lambda rest: rest["optim_d"]["state"][0]["exp_avg"].resize_(3), {}, "another shape for parameter 0"),
        (lambda rest: rest["optim_g"]["param_groups"][0]["params"].pop(), {}, "states of .* parameters, expected"),
        (lambda rest: rest.update(steps=7), {}, "7 updates are done, max_steps is 3.*--trainer.max_steps"),
    ],
)
def test_what_cannot_be_gone_on_with_is_one_line(tmp_path, halfway, mel_data, change, arguments, message):
    place = halfway
    if change:
        place = as_of_old(halfway, tmp_path / "changed")
        rest = read(place / "do_00000002")
        change(rest)
        torch.save(rest, place / "do_00000002")
    with pytest.raises(VocolabError, match=message):
        run(tmp_path / "run", gan(continue_from=place, **arguments), mel_data(), 3)


def test_the_two_files_of_one_update_are_found(tmp_path):
    from vocolab.checkpoints.training import find_training

    for name in ("g_00000001", "do_00000001", "g_00000003.pt", "prematch_g_00000002.pt", "do_00000002.pt", "x"):
        (tmp_path / name).touch()
    newest = (tmp_path / "prematch_g_00000002.pt", tmp_path / "do_00000002.pt")
    assert find_training(tmp_path) == find_training(newest[0]) == newest
    assert find_training(tmp_path / "do_00000001") == (tmp_path / "g_00000001", tmp_path / "do_00000001")
    url = "https://host/folder/"
    assert find_training(f"{url}g_1.pt") == (f"{url}g_1.pt", f"{url}do_1.pt")
    with pytest.raises(VocolabError, match="no do_00000003.pt beside it.*initialize_from takes one"):
        find_training(tmp_path / "g_00000003.pt")
    with pytest.raises(UsageError, match="which do_ file belongs to it is not known: prematch_g_02500000.pt"):
        find_training("prematch_g_02500000.pt")
    with pytest.raises(VocolabError, match="not named g_"):
        find_training(tmp_path / "x")
    with pytest.raises(VocolabError, match="no such file or folder: .*none"):
        find_training(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VocolabError, match="no g_. and do_. of one number"):
        find_training(tmp_path / "empty")


def test_parts_without_an_official_layout_are_refused(tmp_path, mel_data):
    other = Ensemble([MultiPeriodDiscriminator((2,), (4,)), MultiResolutionSTFTDiscriminator(((256, 64),), (4,), (1,))])
    for task, message in (
        (small_task(Vocos(80, dim=16, blocks=1, hidden=16)), "Vocos has no official layout: OfficialFiles"),
        (gan(discriminator=other), "not one of each: OfficialFiles: use configs/discriminator/hifigan.yaml"),
    ):
        with pytest.raises(VocolabError, match=message):
            run(tmp_path, task, mel_data(), 1, callbacks=[OfficialFiles()])
    with pytest.raises(UsageError, match="every_n_train_steps is 0"):
        OfficialFiles(0)
