"""What every encoder of speech into frames is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Waveform (B, T) at `sample_rate` Hz -> features (B, L, dim), one frame every `hop` samples.

    Constructing an encoder is cheap: at most a small configuration file is read, so that a recipe whose shards exist never loads weights.
    `load` reads the weights of the layers asked for; `forward` calls it when needed.
    """

    sample_rate: int
    hop: int
    dim: int
    layer: int | None = None  # the layer `forward` returns unless told otherwise; None where there are no layers
    min_samples: int = 400  # shorter input has no frame

    @abstractmethod
    def load(self, layers: Sequence[int] | None = None) -> Encoder:
        """Read the weights up to the deepest of `layers` (default: `self.layer`) and return self. Does nothing the second time."""

    @abstractmethod
    def layers(self, wav: Tensor, lengths: Tensor | None = None, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Features of several layers from one pass.

        wav (B, T), zero-padded on the right; lengths (B,) in samples, default T. Returns one (B, L, dim) tensor a layer asked for, in
        the order asked (default: `[self.layer]`). Row b equals what its first lengths[b] samples give alone; frames beyond
        `self.frames(lengths[b])` are unspecified.
        """

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features (B, L, dim) of `self.layer`."""
        return self.layers(wav, lengths)[0]

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames of `samples` unpadded samples."""

    @abstractmethod
    def alignment_padding(self, samples: int) -> int:
        """Zeros to append so that at least `samples // hop` frames come out, frame i standing for samples [hop·i, hop·(i+1))."""

    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers beyond the constructor arguments: by default nothing; `{"weights": sha256}` where there are weights."""
        return {}
