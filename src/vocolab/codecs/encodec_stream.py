"""EnCodec's own decoder on codes that come in: it is causal, so no frame has to wait for a later one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import EncodecModel
from transformers.models.encodec import modeling_encodec as parts

from vocolab.codecs.streaming import Decoding


class CausalDecoding(Decoding):
    """Each layer goes on from what it has kept of the frames before: the convolutions the last positions that they
    reach back to, the LSTM its state. So a frame costs the same wherever it stands.
    """

    def __init__(self, network: EncodecModel):
        self.network = network
        self.kept: dict[nn.Module, Any] = {}
        first: Any = network.decoder.layers[0]
        # A signal begins with its own mirror image, so the first call needs more frames than the first layer mirrors.
        self.least = int(first.padding_total) + 1
        self.waiting: list[Tensor] = []

    @torch.no_grad()
    def feed(self, codes: Tensor) -> Tensor:
        self.waiting.append(codes)
        if not self.kept and sum(piece.shape[1] for piece in self.waiting) < self.least:
            return torch.zeros(0)
        x = self._embedded()
        for layer in self.network.decoder.layers:
            x = self._layer(layer, x)
        return _samples(x)

    @torch.no_grad()
    def end(self) -> Tensor:
        if not self.waiting:
            return torch.zeros(0)
        return _samples(self.network.decoder(self._embedded()))  # a signal too short to have begun

    def _embedded(self) -> Tensor:
        """The vectors (1, dim, n) of the codes that waited."""
        codes = torch.cat(self.waiting, dim=1)  # (k, n)
        self.waiting = []
        return self.network.quantizer.decode(codes[:, None])

    def _layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What `layer` makes of the next positions x (1, C, n)."""
        if isinstance(layer, parts.EncodecConv1d):
            return self._convolution(layer, x)
        if isinstance(layer, parts.EncodecConvTranspose1d):
            return self._upsampling(layer, x)
        if isinstance(layer, parts.EncodecLSTM):
            frames = x.permute(2, 0, 1)
            mixed, self.kept[layer] = layer.lstm(frames, self.kept.get(layer))
            return (mixed + frames).permute(1, 2, 0)
        if isinstance(layer, parts.EncodecResnetBlock):
            mixed = x
            for part in layer.block:
                mixed = self._layer(part, mixed)
            return self._layer(layer.shortcut, x) + mixed
        return layer(x)  # each position for itself

    def _convolution(self, layer: parts.EncodecConv1d, x: Tensor) -> Tensor:
        reach = int(layer.padding_total)
        if reach == 0:
            return layer.conv(x)
        before = self.kept.get(layer)
        x = torch.cat([x[..., 1 : reach + 1].flip(-1) if before is None else before, x], dim=2)
        self.kept[layer] = x[..., -reach:]
        return layer.conv(x)

    def _upsampling(self, layer: parts.EncodecConvTranspose1d, x: Tensor) -> Tensor:
        """A position of x reaches `kernel` samples onwards, into those of the next positions."""
        kernel, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
        reach = -(-kernel // stride) - 1  # positions
        before = self.kept.get(layer, x[..., :0])
        x = torch.cat([before, x], dim=2)
        self.kept[layer] = x[..., -reach:]
        known = before.shape[2] * stride
        return layer.conv(x)[..., known : x.shape[2] * stride]


def _samples(x: Tensor) -> Tensor:
    """The decoder's output (1, 1, T) as `EnCodec.decode` gives it, (T,) on the CPU."""
    return x[0, 0].float().clamp(-1, 1).cpu()
