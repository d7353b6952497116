"""Several layers of an encoder side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError, VocolabError
from vocolab.parts import build, describe

STACK = -1  # the number under which the layers side by side are asked for


class LayerStack(Encoder):
    """The layers `stacked` of `encoder`, one after the other along the channels: (B, L, len(stacked) · C).

    They are layer -1, which is the default; the encoder's own layers keep their numbers. So frames can be matched by
    one layer and the vocoder be given several (`matching_layer: 6` and no `synthesis_layer`). A vocoder that weighs
    them is `LayerWeights`. `checkpoint` says where the encoder's weights are instead of what it says itself.
    """

    layer: int = STACK

    def __init__(self, encoder: Encoder, stacked: Sequence[int], checkpoint: str | Path | None = None):
        super().__init__()
        if encoder.layer is None or len(stacked) < 1:
            what = f"{len(stacked)} layers of {type(encoder).__name__} side by side"
            raise UsageError(what, "data.encoder", "name at least one layer of an encoder that has layers")
        self.encoder = encoder if checkpoint is None else _reading(encoder, checkpoint)
        self.stacked, self.checkpoint = list(stacked), checkpoint
        self.chunk_seconds, self.context_seconds = encoder.chunk_seconds, encoder.context_seconds

    @property
    def sample_rate(self) -> int:  # type: ignore[override] # read-only: the encoder's
        return self.encoder.sample_rate

    @property
    def hop(self) -> int:  # type: ignore[override] # read-only: the encoder's
        return self.encoder.hop

    @property
    def min_samples(self) -> int:  # type: ignore[override] # read-only: the encoder's
        return self.encoder.min_samples

    @property
    def dim(self) -> int:  # type: ignore[override] # read-only: it follows from the encoder
        return len(self.stacked) * self.encoder.dim

    @property
    def depth(self) -> int | None:  # type: ignore[override] # read-only: the encoder's
        return self.encoder.depth

    def load(self, layers: Sequence[int] | None = None) -> Self:
        self.encoder.load(self._needed(layers))
        return self

    def layers(self, wav: Tensor, lengths: Tensor | None = None, layers: Sequence[int] | None = None) -> list[Tensor]:
        return self._side_by_side(self.encoder.layers(wav, lengths, self._needed(layers)), layers)

    def encode_pieces(self, wav: Tensor, layers: Sequence[int] | None = None) -> Iterator[list[Tensor]]:
        self.encoder.chunk_seconds, self.encoder.context_seconds = self.chunk_seconds, self.context_seconds
        for piece in self.encoder.encode_pieces(wav, self._needed(layers)):
            yield self._side_by_side(piece, layers)

    def successive(self, step: int, layers: Sequence[int] | None = None) -> Callable[[Tensor], list[Tensor]]:
        encode = self.encoder.successive(step, self._needed(layers))
        return lambda wav: self._side_by_side(encode(wav), layers)

    @property
    def frame_samples(self) -> int:
        return self.encoder.frame_samples

    def width(self, layer: int | None) -> int:
        return self.dim if layer == STACK else self.encoder.width(layer)

    def frames(self, samples: int) -> int:
        return self.encoder.frames(samples)

    def alignment_padding(self, samples: int) -> int:
        return self.encoder.alignment_padding(samples)

    def fingerprint(self) -> dict[str, Any]:
        return self.encoder.fingerprint()

    def _needed(self, layers: Sequence[int] | None) -> list[int]:
        """The encoder's layers that make up those asked for, each once, in the order of their numbers."""
        wanted = [self.layer] if layers is None else list(layers)
        return sorted({own for layer in wanted for own in (self.stacked if layer == STACK else [layer])})

    def _side_by_side(self, computed: list[Tensor], layers: Sequence[int] | None) -> list[Tensor]:
        """Of the features of the needed layers, (…, C) each, those asked for."""
        own = dict(zip(self._needed(layers), computed, strict=True))
        wanted = [self.layer] if layers is None else layers
        return [torch.cat([own[i] for i in self.stacked], -1) if layer == STACK else own[layer] for layer in wanted]


def _reading(encoder: Encoder, checkpoint: str | Path) -> Encoder:
    """The same encoder with its weights read from `checkpoint`."""
    described = describe(encoder)
    if "checkpoint" not in described["init_args"]:
        raise VocolabError(
            "an encoder without a checkpoint", type(encoder).__name__, "leave data.encoder.checkpoint out"
        )
    return build(described | {"init_args": described["init_args"] | {"checkpoint": str(checkpoint)}}, Encoder)
