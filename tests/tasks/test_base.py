"""The arguments of an optimizer in a resumed run."""

from __future__ import annotations

import torch
from torch import nn

from vocolab.tasks.base import follow


def group(lr: float, **more) -> torch.optim.Optimizer:
    return torch.optim.AdamW([nn.Parameter(torch.ones(2))], lr=lr, **more)


def test_a_resumed_optimizer_takes_the_arguments_of_the_recipe():
    old = group(2e-4, betas=[0.8, 0.99])
    old.param_groups[0]["initial_lr"], old.param_groups[0]["lr"] = 2e-4, 1e-6  # under a schedule
    parameter = old.param_groups[0]["params"][0]
    assert follow(old, group(1e-4, betas=(0.8, 0.99), weight_decay=0.5), apply=False) == [
        "lr 0.0002 -> 0.0001",
        "weight_decay 0.01 -> 0.5",
    ]
    assert old.param_groups[0]["initial_lr"] == 2e-4
    assert follow(old, group(1e-4, betas=(0.8, 0.99), weight_decay=0.5))
    assert (old.param_groups[0]["initial_lr"], old.param_groups[0]["weight_decay"]) == (1e-4, 0.5)
    assert old.param_groups[0]["params"][0] is parameter
    assert follow(old, group(1e-4, betas=(0.8, 0.99), weight_decay=0.5)) == []
