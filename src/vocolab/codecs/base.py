"""What every codec of speech into discrete codes is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Self

from torch import Tensor, nn

from vocolab.codecs.streaming import AtEnd, Decoding
from vocolab.errors import UsageError


class Codec(nn.Module, ABC):
    """Waveform (B, T) at `sample_rate` Hz <-> codes (B, levels, L) from 0 to size - 1, a frame every `hop` samples.

    What holds for every codec:
    - Constructing it is cheap: the sizes follow from its arguments and at most a small configuration file. `load` reads
      the weights where there are some; `encode` and `decode` call it when needed.
    - A codec that learns its codebooks from the training split has `fitted` False until `fit` was called or a state
      dict loaded; the codebooks are buffers, so they go into checkpoints. Weights that a file holds are in no state
      dict.
    - The same speech gives the same codes in any batch and beside any padding.
    - `encode` and `decode` have no gradients. They refuse what does not fit with a `VocolabError`: a waveform that is
      not (B, T), not floating-point, not finite or shorter than a frame; codes that are not (B, k, L) with k from 1 to
      `levels` and L at least 1, not integers, or outside 0 … size - 1.
    """

    levels: int
    size: int
    sample_rate: int
    hop: int
    licence: str = ""  # of its weights, as an export states it

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    @property
    def fitted(self) -> bool:
        """Whether it has its codebooks."""
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(keeping_precision(fn), recurse)

    def load(self) -> Self:
        """Read the weights and return self; does nothing the second time. Raises `VocolabError` where they cannot be
        read or are another model's.
        """
        return self

    @abstractmethod
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (B, levels, L) int64 of wav (B, T), zero-padded on the right; lengths (B,) in samples, default T.

        L is `frames(max(lengths))`. Row b equals what its first lengths[b] samples give alone; its codes beyond
        `frames(lengths[b])` are unspecified. They are on wav's device.
        """

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Waveform (B, L·hop) float32 in [-1, 1] of codes (B, k, L), k from 1 to `levels`: the first k levels alone are
        decoded too.
        """

    def decoding(self) -> Decoding:
        """Decode codes that come in, a few frames at a time. A codec that says nothing here speaks at the end alone."""
        return AtEnd(self.decode)

    def receive(self, vocoder: nn.Module) -> Self:
        """Take `vocoder` for `decode`, frozen; return self. Raises `VocolabError` where it does not fit."""
        raise UsageError(f"{type(self).__name__} takes no vocoder", "data.codec.vocoder", "leave it out")

    def check_can_decode(self) -> None:
        """Raise `VocolabError` where `decode` lacks a part and so could decode no codes at all; callers ask before they
        sample any.
        """
        return

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames of `samples` unpadded samples, 0 where they are too few for one."""

    def fingerprint(self) -> dict[str, Any]:
        """What decides the codes beyond the constructor arguments: `{"weights": sha256}` where there are weights."""
        return {}

    def fit(self, speech: Iterable[Tensor]) -> None:
        """Learn the codebooks from recordings (T,) at `sample_rate` Hz. Only codecs with `fitted` False have it."""
        raise NotImplementedError(type(self).__name__)


def keeping_precision(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`fn`, which `nn.Module._apply` calls to move or convert a tensor, made to move it without lowering its precision.

    A codec inside a model that is converted to bfloat16 would give other codes for the same speech.
    """

    def kept(tensor: Tensor) -> Tensor:
        new = fn(tensor)
        return new if new.dtype.itemsize >= tensor.dtype.itemsize else tensor.to(new.device)

    return kept
