"""The fill and the inputs behind the reference's golden values (knnvc.md, "Golden values")."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def fill(module: nn.Module) -> nn.Module:
    """Deterministic weights, in eval mode: for the i-th of the sorted keys, sin(0.7·arange(n) + i), scaled by kind."""
    state = module.state_dict()
    for i, key in enumerate(sorted(state)):
        shape = state[key].shape
        s = torch.sin(0.7 * torch.arange(shape.numel(), dtype=torch.float64) + i).reshape(shape)
        if key.endswith("weight_g"):
            s = 1 + 0.05 * s
        elif key.endswith("bias"):
            s = 0.01 * s
        elif key.endswith(("alpha", "beta")):
            s = 0.2 * s
        elif key == "lin_pre.weight":
            s = 0.03 * s
        elif key.endswith("weight_orig"):
            s = 0.05 * s
        state[key] = s.float()
    module.load_state_dict(state)
    return module.eval()


def features() -> Tensor:
    """(1, 22, 1024)."""
    return torch.sin(0.01 * torch.arange(22 * 1024, dtype=torch.float64)).float().view(1, 22, 1024)


def tone() -> Tensor:
    """(1, 7040): 220 Hz at 16 kHz."""
    return (0.5 * torch.sin(2 * math.pi * 220 * torch.arange(7040, dtype=torch.float64) / 16000)).float()[None]
