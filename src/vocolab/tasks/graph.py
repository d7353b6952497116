"""The update of a GAN as one CUDA graph.

An update is thousands of small kernels. Launched one by one they leave a GPU idle half of the time; a graph
(cudagraph.py) launches them at once. What differs between updates lies in tensors that are written before each:
the batch, and the learning rates. Random numbers come from the seed that torch's generator has then.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Adam, Optimizer

from vocolab.cudagraph import aside, record

WARM = 3  # updates of a kind before it is recorded: libraries choose algorithms, optimizers make their states
KINDS = 8  # of updates; each takes memory
HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")

Terms = dict[str, Tensor]  # what is logged of an update, by name; in a graph the same tensors each time
log = logging.getLogger(__name__)


class Update(Protocol):
    """An update on waveforms (B, T) and features (B, L, C), with or without the discriminator."""

    def __call__(self, real: Tensor, feats: Tensor, adversarial: bool) -> Terms: ...


class Recorder(ABC):
    """A device that records what a function does."""

    @abstractmethod
    def run(self, function: Callable[[], Terms]) -> Terms:
        """Call the function as it will be recorded."""

    @abstractmethod
    def record(self, function: Callable[[], Terms]) -> Callable[[], Terms]:
        """What does the same as the function each time it is called. Raises `RuntimeError` for a function that cannot
        be recorded.
        """


class CUDARecorder(Recorder):
    """CUDA graphs that share one pool of memory: they never run at the same time."""

    def __init__(self, device: torch.device):
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def run(self, function: Callable[[], Terms]) -> Terms:
        return aside(function, self.stream)

    def record(self, function: Callable[[], Terms]) -> Callable[[], Terms]:
        graph, made = record(function, self.stream, self.pool)

        def replay() -> Terms:
            graph.replay()
            return made

        return replay


@dataclass
class Recording:
    inputs: tuple[Tensor, Tensor]  # what it reads
    replay: Callable[[], Terms]


class GraphedUpdate:
    """`update`, recorded once for each kind: each shape of a batch, without and with the discriminator.

    The first updates of a kind run as they are, with the same arithmetic as the recording, so that a resumed run, which
    begins with such updates, computes what it would have computed without the interruption.
    """

    def __init__(self, update: Update, optimizers: Sequence[Optimizer], recorder: Recorder):
        self.update, self.recorder = update, recorder
        self.steps = FusedSteps(optimizers)
        self.kinds: dict[tuple, int | Recording] = {}  # a recording, or how many updates there were of the kind
        self.plain = False  # nothing is recorded any more
        self._adversarial = False

    def __call__(self, real: Tensor, feats: Tensor, adversarial: bool) -> Terms:
        if adversarial != self._adversarial:  # what was recorded before does not come again
            self.kinds.clear()
            self._adversarial = adversarial
        self.steps.set_rates()
        kind = real.shape, feats.shape, real.dtype, feats.dtype, self.steps.constants()
        found = self._recording(kind, real, feats)
        if found is None:
            with self.steps.fused():
                return self.recorder.run(partial(self.update, real, feats, adversarial))
        for static, given in zip(found.inputs, (real, feats), strict=True):
            static.copy_(given)
        return found.replay()

    def _recording(self, kind: tuple, real: Tensor, feats: Tensor) -> Recording | None:
        """The recording of a kind, made when its first updates are done; None until then."""
        if self.plain:
            return None
        found = self.kinds.get(kind, 0)
        if isinstance(found, Recording):
            return found
        if found == WARM:
            return self._record(kind, real, feats)
        self.kinds[kind] = found + 1
        if len(self.kinds) > KINDS:
            self._give_up("shapes of batches or settings of optimizers change too often")
        return None

    def _record(self, kind: tuple, real: Tensor, feats: Tensor) -> Recording | None:
        inputs = real.clone(), feats.clone()
        try:
            with self.steps.fused(capturable=True):
                replay = self.recorder.record(partial(self.update, *inputs, self._adversarial))
        except RuntimeError as error:
            reason, *_ = str(error).strip().split("\n")
            self._give_up(f"the update cannot be recorded ({reason})")
            return None
        self.kinds[kind] = made = Recording(inputs, replay)
        return made

    def _give_up(self, why: str) -> None:
        self.plain = True
        self.kinds.clear()
        say(why)


class FusedSteps:
    """Adam's steps in the form that a graph can repeat: fused, with learning rates and counts of steps on the device.

    The optimizers hold it only while they step. Schedules, checkpoints and resumed runs see plain numbers.
    """

    def __init__(self, optimizers: Sequence[Optimizer]):
        self.optimizers = optimizers
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self.rates = [torch.zeros((), device=group["params"][0].device) for group in groups]
        for optimizer in optimizers:
            for parameter, state in optimizer.state.items():  # those of a run without a graph are counted on the CPU
                state["step"] = state["step"].to(parameter.device, torch.float32)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def set_rates(self) -> None:
        for group, rate in zip(self._groups(), self.rates, strict=True):
            rate.fill_(group["lr"])

    def constants(self) -> str:
        """What a recording holds as numbers."""
        varied = ("params", "lr", "initial_lr")
        return str([[(name, group[name]) for name in group if name not in varied] for group in self._groups()])

    @contextmanager
    def fused(self, capturable: bool = False) -> Iterator[None]:
        """Inside, the optimizers step so. `capturable`: torch wants this said while it records, and only then."""
        form = {"fused": True, "foreach": False, "capturable": capturable}
        groups = self._groups()
        kept = [{name: group[name] for name in ("lr", *form)} for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group.update(form, lr=rate)
        try:
            yield
        finally:
            for group, values in zip(groups, kept, strict=True):
                group.update(values)


def graphed(update: Update, trainer: Trainer, clips: bool) -> Update:
    """`update` as a graph where it can be one; else `update` itself, and a line says why. `clips`: it shortens
    gradients.
    """
    recorder = recorder_of(trainer.strategy.root_device)
    why = f"the device is {trainer.strategy.root_device.type}" if recorder is None else obstacle(trainer, clips)
    if recorder is None or why is not None:
        if trainer.is_global_zero:
            say(why)
        return update
    return GraphedUpdate(update, trainer.optimizers, recorder)


def recorder_of(device: torch.device) -> Recorder | None:
    return CUDARecorder(device) if device.type == "cuda" else None


def obstacle(trainer: Trainer, clips: bool) -> str | None:
    """Why an update cannot be a graph, if it cannot."""
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        return f"{type(trainer.strategy).__name__} exchanges gradients between processes"
    if clips:
        return "gradients are shortened (max_grad_norm)"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return f"{trainer.precision} looks at the gradients before each step; bf16-mixed does not"
    for optimizer in trainer.optimizers:
        if not isinstance(optimizer, Adam) or any(group["differentiable"] for group in optimizer.param_groups):
            return f"{type(optimizer).__name__} has no fused form; Adam and AdamW have"
    for part in (*trainer.callbacks, trainer.lightning_module):  # type: ignore[attr-defined]
        if hook := next((name for name in HOOKS if is_overridden(name, part)), None):
            return f"{type(part).__name__} has {hook}, which a graph does not call"
    return None


def say(why: str | None) -> None:
    log.warning(f"cuda_graph has no effect: {why}")
