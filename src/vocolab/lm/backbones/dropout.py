"""Dropout that is quick on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """`dropout` in training, nothing in eval."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, True) if self.training else x


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """x with the share `p` of its elements zero and the rest scaled to keep the mean.

    On a CPU torch draws a number for each element, one after the other: more than a third of a training step of a small
    model. Here one draw of 64 bits decides eight elements, `p` being rounded to a multiple of 1/256. Elsewhere, and
    under `torch.compile`, it is torch's own.
    """
    dropped = round(256 * p)
    if not training or x.device.type != "cpu" or not 0 < dropped < 256 or torch.compiler.is_compiling():
        return F.dropout(x, p, training)
    drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = drawn.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * (kept.to(x.dtype) * (256 / (256 - dropped)))
