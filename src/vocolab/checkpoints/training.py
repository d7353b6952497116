"""The state of a training in the official layout of HiFi-GAN and kNN-VC: `g_*.pt`, and the `do_*.pt` of that update."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vocolab.checkpoints.content import State, fill, read_checkpoint
from vocolab.checkpoints.official import (
    check_layout,
    discriminators,
    export_hifigan,
    load_discriminator,
    official_names,
)
from vocolab.errors import UsageError, VocolabError
from vocolab.files import atomic
from vocolab.remote import model_file, url_of
from vocolab.vocoders import Vocoder

_NAME = re.compile(r"(prematch_|)(g|do)_(\d+)(\.pt|)")
KEYS = ("mpd", "msd", "optim_g", "optim_d", "steps", "epoch")  # of a do_ file


@dataclass
class OfficialTraining:
    """A training as `g_*` and `do_*` hold it."""

    generator: State
    rest: dict[str, Any]  # by `KEYS`
    path: Path  # of the do_ file
    generator_path: Path

    @property
    def updates(self) -> int:
        """Updates done. (The official program counts from 0, so its own files have seen one more than they say.)"""
        return int(self.rest["steps"])

    @property
    def epoch(self) -> int:
        return max(0, int(self.rest["epoch"]))

    def fill(self, vocoder: nn.Module, discriminator: nn.Module) -> None:
        """Copy the weights into a vocoder and the MPD and MSD of a discriminator."""
        fill(vocoder, self.generator, self.generator_path)
        load_discriminator(discriminator, self.rest, self.path)

    def restore(self, optimizers: Sequence[Optimizer], vocoder: nn.Module, discriminator: nn.Module) -> None:
        """Give the optimizers, of the vocoder and of the discriminator, their states and arguments."""
        orders = ([*vocoder.parameters()], _official_order(discriminator, self.path))
        for optimizer, key, order in zip(optimizers, ("optim_g", "optim_d"), orders, strict=True):
            if not isinstance(optimizer, torch.optim.Adam):
                what = f"{type(optimizer).__name__} cannot go on with the states of AdamW"
                raise UsageError(what, "model.optimizer", "use torch.optim.AdamW")
            _check_states(self.rest[key], order, f"{self.path} {key}")
            optimizer.load_state_dict(_moved(self.rest[key], order, _parameters(optimizer)))


def is_folder_of_training(place: str | Path) -> bool:
    """Whether `place` is a folder of official files; DeepSpeed's checkpoints are folders of others."""
    if url_of(place) is not None or not model_file(place).is_dir():
        return False
    return any(_NAME.fullmatch(path.name) for path in model_file(place).iterdir())


def find_training(place: str | Path) -> tuple[str | Path, str | Path]:
    """The g_ and the do_ file that `place` means: the newest two of a folder, or a file of either kind and the other
    kind beside it, whose name has the same number. URLs and names of kNN-VC's release are files too.

    Raises `VocolabError` where there are no two of one number.
    """
    path = Path(place)
    if url_of(place) is None and model_file(place).is_dir():
        return _newest(model_file(place))
    match = _NAME.fullmatch(path.name)
    if match is None:
        there = url_of(place) is not None or model_file(place).exists()
        what = "not named g_* or do_*" if there else "no such file or folder"
        raise VocolabError(what, place, "name a folder or a file of the official layout")
    prefix, _, number, suffix = match.groups()
    if url_of(place) is None:
        found = [_beside(path, prefix, kind, f"{number}{suffix}") for kind in ("g", "do")]
        return found[0], found[1]
    if prefix:
        raise UsageError("which do_ file belongs to it is not known", place, "fetch both and name their folder")
    base = str(place).removesuffix(path.name)
    return f"{base}g_{number}{suffix}", f"{base}do_{number}{suffix}"


def _beside(path: Path, prefix: str, kind: str, rest: str) -> Path:
    """The file of a kind in the folder of `path`, if need be without the prefix."""
    folder = model_file(path).parent
    for name in (f"{prefix}{kind}_{rest}", f"{kind}_{rest}"):
        if (folder / name).exists():
            return folder / name
    remedy = "a training goes on from both files; --model.initialize_from takes one, for its weights"
    raise VocolabError(f"no {kind}_{rest} beside it", path, remedy)


def _newest(folder: Path) -> tuple[Path, Path]:
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(int(match[3]), {})[match[2]] = path
    both = [number for number, files in found.items() if len(files) == 2]
    if not both:
        raise VocolabError("no g_* and do_* of one number", folder, "name a folder that holds both")
    files = found[max(both)]
    return files["g"], files["do"]


def read_training(place: str | Path) -> OfficialTraining:
    """What the files that `place` means hold (see `find_training`). Raises `VocolabError` where they hold something
    else.
    """
    g, do = (model_file(name) for name in find_training(place))
    state = read_checkpoint(g).get("generator")
    if not isinstance(state, dict):
        raise VocolabError("holds no generator", g, "give an official g_* file")
    rest = read_checkpoint(do)
    missing = [key for key in KEYS if key not in rest]
    if missing:
        raise VocolabError(f"holds no {missing[0]}", do, "give an official do_* file")
    return OfficialTraining(official_names(state), {key: rest[key] for key in KEYS}, do, g)


def check_official(vocoder: Vocoder, discriminator: nn.Module | None, where: object) -> None:
    """Raise `VocolabError` where there is no official layout for these parts."""
    check_layout(vocoder, where)
    if discriminator is not None:
        _official_order(discriminator, where)


def write_training(
    folder: Path,
    vocoder: Vocoder,
    discriminator: nn.Module | None,
    optimizers: Sequence[Optimizer],
    updates: int,
    epoch: int,
) -> list[Path]:
    """Write `g_%08d.pt`, and with a discriminator `do_%08d.pt`, of these parts and their optimizers after so many
    updates; returns their paths.
    """
    written = [folder / f"g_{updates:08d}.pt"]
    export_hifigan(vocoder, written[0], overwrite=True)
    if discriminator is not None:
        written.append(folder / f"do_{updates:08d}.pt")
        mpd, msd = discriminators(discriminator, written[1])
        orders = ([*vocoder.parameters()], _official_order(discriminator, written[1]))
        states = [
            _moved(_on_cpu(optimizer.state_dict()), _parameters(optimizer), order)
            for optimizer, order in zip(optimizers, orders, strict=True)
        ]
        content = {"mpd": _on_cpu(mpd.state_dict()), "msd": _on_cpu(msd.state_dict())}
        content |= {"optim_g": states[0], "optim_d": states[1], "steps": updates, "epoch": epoch}
        with atomic(written[1]) as temporary:
            torch.save(content, temporary)
    return written


def _official_order(discriminator: nn.Module, where: object) -> list[nn.Parameter]:
    """The parameters as the official optimizer has them: the MSD's before the MPD's. Raises `VocolabError` where the
    discriminator has others.
    """
    mpd, msd = discriminators(discriminator, where)
    order = [*msd.parameters(), *mpd.parameters()]
    if len(order) != len(list(discriminator.parameters())):
        remedy = "use configs/discriminator/hifigan.yaml"
        raise VocolabError("the official layout has no discriminator but MPD and MSD", where, remedy)
    return order


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters of an optimizer, in its order. Raises `UsageError` where they are in groups."""
    if len(optimizer.param_groups) != 1:
        what = f"{len(optimizer.param_groups)} groups of parameters"
        raise UsageError(what, "model.optimizer", "the official layout has one for the vocoder, one for the rest")
    return optimizer.param_groups[0]["params"]


def _check_states(state: dict[str, Any], order: Sequence[nn.Parameter], where: str) -> None:
    """Raise `VocolabError` where the states are not those of parameters of these shapes."""
    groups = state.get("param_groups", [])
    sizes = [len(group["params"]) for group in groups]
    if sizes != [len(order)]:
        raise VocolabError(f"states of {sizes} parameters, expected {[len(order)]}", where, "give its own files")
    for index, held in state["state"].items():
        shapes = {tuple(value.shape) for name, value in held.items() if name != "step"}
        if shapes != {tuple(order[index].shape)}:
            raise VocolabError(f"states of another shape for parameter {index}", where, "give its own files")


def _moved(state: dict[str, Any], old: Sequence[nn.Parameter], new: Sequence[nn.Parameter]) -> dict[str, Any]:
    """An optimizer's state for parameters in the order `old`, rewritten for the order `new`."""
    place = {id(parameter): index for index, parameter in enumerate(new)}
    states = {place[id(old[index])]: held for index, held in state["state"].items()}
    group = {**state["param_groups"][0], "params": list(range(len(new)))}
    return {"state": dict(sorted(states.items())), "param_groups": [group]}


def _on_cpu(value: Any) -> Any:
    """Copies on the CPU of all tensors in nested dictionaries and lists."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value
