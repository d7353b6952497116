"""A vocoder that learns how much each layer of an encoder tells it."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from vocolab.errors import UsageError
from vocolab.vocoders.base import Vocoder


class LayerWeights(Vocoder):
    """Vocode a weighted sum of layers that lie side by side in the features (B, L, layers · C), as `LayerStack` makes
    them: the weights are a softmax of one number a layer, learned with the vocoder (as in Yang et al. 2021, SUPERB).

    All layers weigh the same at first. How many there are follows from the widths: `in_channels` of the features, and
    the vocoder's own. Raises `UsageError` where the one is no multiple of the other.
    """

    def __init__(self, vocoder: Vocoder, in_channels: int = 4096):
        super().__init__()
        if in_channels < vocoder.in_channels or in_channels % vocoder.in_channels:
            what = f"features of width {in_channels} are no layers of width {vocoder.in_channels}"
            remedy = "set model.vocoder.vocoder.in_channels to the width of one layer, and data.encoder to a LayerStack"
            raise UsageError(what, "LayerWeights", remedy)
        self.vocoder, self.in_channels = vocoder, in_channels
        self.hop, self.sample_rate, self.context = vocoder.hop, vocoder.sample_rate, vocoder.context
        self.weights = nn.Parameter(torch.zeros(in_channels // vocoder.in_channels))

    def shares(self) -> Tensor:
        """How much of the sum each layer is, (layers,); together 1."""
        return self.weights.softmax(0)

    def forward(self, feats: Tensor) -> Tensor:
        self.check(feats)
        layers = feats.unflatten(-1, (len(self.weights), -1))  # (B, L, layers, C)
        return self.vocoder((layers * self.shares()[:, None]).sum(2))

    def fitting(self, hop: int) -> str:
        return self.vocoder.fitting(hop)

    def fold(self) -> Self:
        self.vocoder.fold()
        return self
