"""Convolutions with weight or spectral norm, under the parameter names of the official checkpoints.

torch has two implementations. Its `parametrizations` name their tensors differently and break when a module is copied
deeply and then unparametrised, as EMA and export do. Its older hooks compute the weight anew at every forward, and a
module cannot be copied after one. The modules here hold `bias`, `weight_g`, `weight_v` (or `weight_orig`, `weight_u`,
`weight_v`) as ordinary parameters, in the official order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normed(nn.Module):
    """Mixin over a convolution: `kernel()` is the weight the convolution uses."""

    weight: Tensor  # once folded
    _frozen: Tensor | None = None  # the weight while `frozen` holds it

    def normalized(self) -> Tensor:
        """The weight computed from the norm's parameters."""
        raise NotImplementedError

    def kernel(self) -> Tensor:
        if "weight" in self._parameters:  # folded
            return self.weight
        return self.normalized() if self._frozen is None else self._frozen

    def fold(self) -> None:
        """Make the normalised weight an ordinary parameter. Cannot be undone."""
        if "weight" in self._parameters:
            return
        weight = self.normalized().detach().clone()
        for name in [n for n in (*self._parameters, *self._buffers) if n.startswith("weight_")]:
            delattr(self, name)
        self.weight = nn.Parameter(weight)


class WeightNorm(Normed):
    """weight = weight_g · weight_v / ‖weight_v‖, normed over all dimensions but the first (Salimans & Kingma 2016)."""

    weight_g: nn.Parameter
    weight_v: nn.Parameter

    def _install(self) -> None:
        weight = self.weight.data
        del self.weight
        self.weight_g = nn.Parameter(torch.norm_except_dim(weight, 2, 0))
        self.weight_v = nn.Parameter(weight)

    def normalized(self) -> Tensor:
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    @torch.no_grad()
    def fill_normal(self, std: float) -> None:
        """Draw the effective weight from N(0, std)."""
        self.weight_v.normal_(0.0, std)
        self.weight_g.copy_(torch.norm_except_dim(self.weight_v, 2, 0))


class WNConv1d(WeightNorm, nn.Conv1d):
    """`nn.Conv1d` with weight norm."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._install()

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.kernel(), self.bias)


class WNConv2d(WeightNorm, nn.Conv2d):
    """`nn.Conv2d` with weight norm."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._install()

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.kernel(), self.bias)


class WNConvTranspose1d(WeightNorm, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with weight norm. The norm's dimension is the input channel, as in the official layout."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._install()

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None and not isinstance(self.padding, str)
        return F.conv_transpose1d(
            x, self.kernel(), self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class SNConv1d(Normed, nn.Conv1d):
    """`nn.Conv1d` whose weight is divided by its largest singular value (Miyato et al. 2018).

    One power iteration a forward in training, as `torch.nn.utils.spectral_norm` does.
    """

    weight_orig: nn.Parameter
    weight_u: Tensor  # singular vectors, left and right
    weight_v: Tensor

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        weight = self.weight.data
        del self.weight
        self.weight_orig = nn.Parameter(weight)
        self.register_buffer("weight_u", F.normalize(torch.randn(weight.shape[0]), dim=0, eps=1e-12))
        self.register_buffer("weight_v", F.normalize(torch.randn(weight[0].numel()), dim=0, eps=1e-12))
        self._iterate(10)  # random vectors would give a fresh network any gain

    @torch.no_grad()
    def _iterate(self, times: int = 1) -> None:
        matrix = self.weight_orig.flatten(1)
        for _ in range(times):
            F.normalize(matrix.t() @ self.weight_u, dim=0, eps=1e-12, out=self.weight_v)
            F.normalize(matrix @ self.weight_v, dim=0, eps=1e-12, out=self.weight_u)

    def normalized(self) -> Tensor:
        # Without autocast, whose products would have another type than the buffers.
        with torch.autocast(self.weight_orig.device.type, enabled=False):
            matrix = self.weight_orig.flatten(1)
            if self.training:
                self._iterate()
            # Cloned: the next forward changes the buffers in place while this one's graph may still need them.
            return self.weight_orig / torch.dot(self.weight_u.clone(), matrix @ self.weight_v.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.kernel(), self.bias)


def fold(module: nn.Module) -> None:
    """Fold every norm inside `module`: for inference."""
    for part in module.modules():
        if isinstance(part, Normed):
            part.fold()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no parameter of `module` asks for a gradient and every normalised weight is computed once."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    normed = [part for part in module.modules() if isinstance(part, Normed)]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        for part in normed:
            part._frozen = part.kernel()
        yield
    finally:
        for part in normed:
            part._frozen = None
        for parameter in parameters:
            parameter.requires_grad_(True)
