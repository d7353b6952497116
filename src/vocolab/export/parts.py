"""Parts of models as ONNX can express them, with the same weights and the same numbers."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.lm.backbones.mixtral import Experts
from vocolab.prepared import twin
from vocolab.vocoders.vocos import Vocos

Module = TypeVar("Module", bound=nn.Module)


class RealVocos(Vocos):
    """`Vocos` without complex numbers: the inverse transform, its window and the overlapping sum are one transposed
    convolution of the real and the imaginary parts.
    """

    basis: Tensor  # (2·bins, 1, n_fft)

    def make_basis(self) -> None:
        unit = torch.eye(self.n_fft // 2 + 1, dtype=torch.complex128)
        waves = torch.cat([torch.fft.irfft(unit, n=self.n_fft), torch.fft.irfft(1j * unit, n=self.n_fft)])
        self.register_buffer("basis", (waves * self.window.double()).float()[:, None], persistent=False)

    def forward(self, feats: Tensor) -> Tensor:
        self.check(feats)
        magnitude, phase = self.polar(feats)
        parts = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], 2).transpose(1, 2)  # (B, 2·bins, L)
        wav = F.conv_transpose1d(parts, self.basis, stride=self.hop)[:, 0]
        envelope = F.conv_transpose1d(
            parts.new_ones(1, 1, feats.shape[1]), self.window.square()[None, None], None, self.hop
        )
        trim = (self.n_fft - self.hop) // 2
        kept = slice(trim, trim + feats.shape[1] * self.hop)
        return (wav[:, kept] / envelope[:, 0, kept]).clamp(-1.0, 1.0)


class DenseExperts(Experts):
    """`Experts` that computes all of them for every position: which are chosen does not change the graph."""

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        gate, up = torch.einsum("nd,efd->nef", x, self.gate_up_proj).chunk(2, -1)
        every = torch.einsum("nef,edf->ned", F.silu(gate) * up, self.down_proj)
        share = x.new_zeros(x.shape[0], every.shape[1]).scatter(1, chosen, weights)  # (N, E)
        return (every * share[:, :, None]).sum(1)


EXPRESSIBLE: dict[type[nn.Module], type[nn.Module]] = {Vocos: RealVocos, Experts: DenseExperts}


def expressible(model: Module) -> Module:
    """A twin of `model`, in eval, of the parts above."""
    made = twin(model, EXPRESSIBLE).eval()
    for part in made.modules():
        if isinstance(part, RealVocos):
            part.make_basis()
    return made
