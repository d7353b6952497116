"""Matrices that decode quickly: what is made of a weight once, and kept while it does not change."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PACKED_ROWS = range(4, 25)  # batches for which MKL's own order of a weight is worth its memory


class Kept(NamedTuple):
    made: object
    weight: Tensor  # of which, in which state, and for how many rows
    state: tuple[int, int, int]


class PreparedLinear(nn.Linear):
    """`nn.Linear` that keeps, in eval and without gradient, what `_prepare` makes of its weight.

    It is made again after training, loading, moving and in-place changes. Only who writes through `weight.data` between
    two passes in eval must call `eval()` again.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._kept: Kept | None = None

    def _prepare(self, rows: int) -> object:
        raise NotImplementedError

    def prepared(self, rows: int = 0) -> object:
        """What is kept; `rows`: how many are multiplied, where that matters (0: it does not)."""
        weight, kept = self.weight, self._kept
        state = (weight.data_ptr(), 0 if weight.is_inference() else weight._version, rows)
        if kept is None or kept.weight is not weight or kept.state != state:
            kept = self._kept = Kept(self._prepare(rows), weight, state)
        return kept.made

    def train(self, mode: bool = True) -> PreparedLinear:
        self._kept = None
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> PreparedLinear:  # another device or dtype
        self._kept = None
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_kept": None}  # a copy makes its own


class PackedLinear(PreparedLinear):
    """`nn.Linear`; when a few sequences are decoded together on a CPU in fp32, its weight lies in the order in which
    MKL multiplies it by so many rows, 1.5 times as fast as reordering it in every step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        rows = x.numel() // self.in_features
        if torch.is_grad_enabled() or self.training or not self._worth_packing(rows, x):
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkl._mkl_linear(x, self.prepared(rows), self.weight, self.bias, rows)

    def _worth_packing(self, rows: int, x: Tensor) -> bool:
        return (
            rows in PACKED_ROWS
            and x.device.type == self.weight.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkl.is_available()
            and torch.backends.mkldnn.is_available()  # the two operators are built with both
        )

    @torch.no_grad()
    def _prepare(self, rows: int) -> Tensor:
        return torch.ops.mkl._mkl_reorder_linear_weight(self.weight.detach(), rows)
