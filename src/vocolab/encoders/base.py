"""What every encoder of speech into frames is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from vocolab.checks import check_waveforms
from vocolab.errors import VocolabError


class Encoder(nn.Module, ABC):
    """Waveform (B, T) at `sample_rate` Hz -> features (B, L, dim), one frame every `hop` samples.

    What holds for every encoder:
    - Constructing it is cheap: at most a small configuration file is read, so that a recipe whose shards exist never
      loads weights. `load` reads the weights of the layers asked for; `forward` and `layers` call it when needed.
    - Weights are frozen, and in no state dict before they are loaded.
    - The features of a row are those that it has alone, whatever stands beside it in the batch.
    - A waveform that is not (B, T), not floating-point, not finite or shorter than `min_samples` is refused with a
      `VocolabError`, as is a layer that does not exist; subclasses call `_check` and `_layers_or_default` for it.
    """

    sample_rate: int
    hop: int
    dim: int
    layer: int | None = None  # the layer `forward` returns unless told otherwise; None where there are no layers
    depth: int | None = None  # the deepest layer; None where there are no layers
    min_samples: int = 400  # shorter input has no frame
    chunk_seconds: float = 60.0  # `encode_long` cuts longer speech into pieces
    context_seconds: float = 2.0  # how much `encode_long` adds to a piece on both sides
    placement: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Weights are read later. This empty buffer moves with the encoder and so keeps the device and type for them.
        self.register_buffer("placement", torch.empty(0), persistent=False)

    @abstractmethod
    def load(self, layers: Sequence[int] | None = None) -> Self:
        """Read the weights up to the deepest of `layers` (default: `self.layer`), unless they are there; return self.
        Raises `VocolabError` where they cannot be read or are another model's.
        """

    @abstractmethod
    def layers(self, wav: Tensor, lengths: Tensor | None = None, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Features of several layers from one pass.

        wav (B, T), zero-padded on the right; lengths (B,) in samples, default T. Returns one (B, L, dim) tensor a layer
        asked for, in the order asked (default: `[self.layer]`). Row b equals what its first lengths[b] samples give
        alone; frames beyond `self.frames(lengths[b])` are unspecified.
        """

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features (B, L, dim) of `self.layer`."""
        return self.layers(wav, lengths)[0]

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames of `samples` unpadded samples."""

    @abstractmethod
    def alignment_padding(self, samples: int) -> int:
        """Zeros to append so that at least `samples // hop` frames come out, frame i standing for samples [hop·i,
        hop·(i+1)).
        """

    def width(self, layer: int | None) -> int:
        """Numbers in a frame of `layer`."""
        return self.dim

    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers beyond the constructor arguments: by default nothing; `{"weights": sha256}` where
        there are weights.
        """
        return {}

    def encode_long(self, wav: Tensor, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Features (L, dim) of each layer of one recording wav (T,) of any length, in memory bounded by
        `chunk_seconds`.

        Up to `chunk_seconds` this is `layers`. Beyond, equal pieces are encoded with `context_seconds` on both sides:
        the number of frames and their places are those of the whole, but attention sees no farther than the piece, so
        their values are near, not equal.
        """
        return [torch.cat(feats) for feats in zip(*self.encode_pieces(wav, layers), strict=True)]

    def encode_pieces(self, wav: Tensor, layers: Sequence[int] | None = None) -> Iterator[list[Tensor]]:
        """The pieces of `encode_long`, one after the other: for who need not hold all features at once."""
        frames = self.frames(wav.shape[-1])
        for start, first, last, stop in self._pieces(frames):
            # The last piece keeps its tail, as the whole does: windows of the last frames reach into it.
            end = None if stop == frames else (stop - 1) * self.hop + self.frame_samples
            samples = wav[start * self.hop : end]
            yield [feats[0, first - start : last - start] for feats in self.layers(samples[None], layers=layers)]

    def successive(self, step: int, layers: Sequence[int] | None = None) -> Callable[[Tensor], list[Tensor]]:
        """A function from windows (T,) of one signal, cut one after the other every `step` samples, to the features
        (L, dim) of each layer.

        Each window is encoded for itself, unless the encoder measures something of the whole signal: then it is
        measured on what the function has been given so far.
        """
        return lambda wav: [feats[0] for feats in self.layers(wav[None], layers=layers)]

    @property
    def frame_samples(self) -> int:
        """Samples that a frame needs in order to exist, from its first on."""
        return self.min_samples

    def _pieces(self, frames: int) -> Iterator[tuple[int, int, int, int]]:
        """(start, first, last, stop) in frames: a piece reads [start, stop) and keeps [first, last)."""
        longest, context = (
            max(1, int(s * self.sample_rate / self.hop)) for s in (self.chunk_seconds, self.context_seconds)
        )
        count = max(1, -(-frames // longest))
        edges = [frames * i // count for i in range(count + 1)]
        for first, last in zip(edges[:-1], edges[1:], strict=True):
            yield max(0, first - context), first, last, min(frames, last + context)

    def _check(self, wav: Tensor, lengths: Tensor | None) -> Tensor:
        """Lengths (B,) on wav's device. Raises `VocolabError` where wav is not (B, T) of finite samples or a row is too
        short for a frame.
        """
        return check_waveforms(wav, lengths, self.min_samples, self.sample_rate, type(self).__name__)

    def _layers_or_default(self, layers: Sequence[int] | None, depth: int) -> list[int]:
        """The layers asked for. Raises `VocolabError` where one is deeper than the model."""
        wanted = []
        for layer in [self.layer] if layers is None else layers:
            if not isinstance(layer, int) or not 0 <= layer <= depth:
                raise VocolabError(f"layer {layer}", type(self).__name__, f"the checkpoint has layers 0 to {depth}")
            wanted.append(layer)
        return wanted
