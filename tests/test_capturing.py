"""The stand-in for a recording refuses what a GPU would refuse, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.capturing import Capturing

ASKED = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum() > 0),
    "if": lambda x: 1 if x.sum() > 0 else 2,
    "int": lambda x: int(x.sum()),
    "float": lambda x: float(x.sum()),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "any": lambda x: (x > 0).any().item(),
    "index": lambda x: [1, 2, 3, 4][x.sum().long()],
    "contains": lambda x: 3.0 in x,
    "nonzero": lambda x: (x > 0).nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "assigned mask": lambda x: x.clone().__setitem__(x > 0, x[:1]),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "repeat": lambda x: torch.repeat_interleave(x, x.long().abs()),
    "sent": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "sent number": lambda x: x + torch.tensor(1.0),
    "bincount": lambda x: x.long().abs().bincount(),
}


@pytest.mark.parametrize("asks", ASKED.values(), ids=ASKED)
def test_what_waits_for_the_device_is_refused(asks):
    x = torch.tensor([1.0, 0.0, 0.5])
    asks(x)  # it works elsewhere
    with Capturing(), pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        asks(x)
    asks(x)


def test_what_crosses_from_the_host_to_the_device_is_refused():
    x, other = torch.zeros(3, device="meta"), torch.ones(3)
    for crosses in (lambda: other.to("meta"), lambda: x.copy_(other), lambda: x.copy_(torch.ones(()))):
        with Capturing(), pytest.raises(RuntimeError, match="between cpu and meta"):
            crosses()


def test_what_a_recording_may_hold_is_let_through():
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    with Capturing():
        y = torch.where(x > 0, x, 0.0) * 2 + x[:, torch.arange(3)]
        y = y.masked_fill(y < 0, 1.0).sort(dim=1, stable=True).values.cumsum(1)
        loss = F.softmax(y, 1).square().mean() + torch.zeros(()) + torch.randn(2).sum()
        loss.backward()
        with torch.no_grad():
            x.sub_(x.grad).index_copy_(1, torch.arange(1), torch.ones(2, 1))
    assert x.grad is not None and x.shape == (2, 3)
