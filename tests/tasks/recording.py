"""What keeps the gradients and the seeds of every update, for the tests of several ranks."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from vocolab.lm import Unified


class RecordGradients(Callback):
    """Write {parameter: gradient} of each update of rank 0 into `folder`, right before the optimizer of that part
    steps.
    """

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        own = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if trainer.is_global_zero:
            part = names[id(own[0])].split(".")[0]
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{trainer.global_step}-{part}.pt"
            torch.save({names[id(p)]: p.grad.clone() for p in own}, path)


class RecordSeeds(Callback):
    """Leave a file named by the seed of each update and rank in `folder`."""

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer, module, *_):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / str(torch.initial_seed())).touch()


class Dealt(Unified):
    """Trains the levels that the lengths of a batch decide, so that two ranks draw what one process does: one level for
    the whole batch, or one for each row.
    """

    def loss(self, condition, codes, lengths, levels=None):
        if levels is None:
            whole = torch.full_like(lengths, int(lengths.max()) % self.levels)
            levels = lengths % self.levels if int(lengths.sum()) % 3 == 0 else whole
        return super().loss(condition, codes, lengths, levels)


class RecordedSGD(torch.optim.SGD):
    """Writes the gradients of each update of rank 0 into `folder` as they are when the parameters would move, and moves
    next to nothing.
    """

    def __init__(self, params, folder: str):
        super().__init__(params, lr=1e-12)
        self.folder, self.count = Path(folder), 0

    def step(self, closure=None):
        loss = closure()
        if rank_zero_only.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save([p.grad.clone() for p in self.param_groups[0]["params"]], self.folder / f"{self.count}.pt")
        self.count += 1
        return loss
