"""What every codec of speech into discrete codes is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vocolab.errors import UsageError, VocolabError


class Codec(nn.Module, ABC):
    """Waveform (B, T) at `sample_rate` Hz <-> codes (B, levels, L), integers below `size`, a frame every `hop` samples.

    Constructing a codec is cheap: sizes follow from its arguments. `load` reads the weights; a codec with `fitted`
    False learns them from the training split first (`fit`), and keeps them as buffers that go into checkpoints.
    """

    levels: int
    size: int
    sample_rate: int
    hop: int
    fitted: bool = True
    licence: str = ""  # of its weights, as an export states it

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Codec:
        return super()._apply(keeping_precision(fn), recurse)

    def load(self) -> Codec:
        """Read the weights and return self; does nothing the second time."""
        return self

    @abstractmethod
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (B, levels, L) int64 of wav (B, T), zero-padded on the right; lengths (B,) in samples, default T.

        Row b equals what its first lengths[b] samples give alone; frames beyond `frames(lengths[b])` are unspecified.
        """

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Waveform (B, L·hop) in [-1, 1] of codes (B, k, L), k <= levels: the first k levels alone are decoded too."""

    def receive(self, vocoder: nn.Module) -> Codec:
        """Take `vocoder` for `decode`, frozen; return self. Raises `VocolabError` where it does not fit."""
        raise UsageError(f"{type(self).__name__} takes no vocoder", "data.codec.vocoder", "leave it out")

    def check_can_decode(self) -> None:
        """Raise `VocolabError` where `decode` lacks a part, whatever the codes: nothing need be sampled for it."""
        return

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames of `samples` unpadded samples."""

    def fingerprint(self) -> dict[str, Any]:
        """What decides the codes beyond the constructor arguments: `{"weights": sha256}` where there are weights."""
        return {}

    def fit(self, speech: Iterable[Tensor]) -> None:
        """Learn the codebooks from recordings (T,) at `sample_rate` Hz. Only codecs with `fitted` False have it."""
        raise NotImplementedError(type(self).__name__)


def check_codes(codes: Tensor, size: int) -> Tensor:
    """`codes` unchanged. Raises `VocolabError` where one is not in 0 … size - 1."""
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
        worst = int(codes.min()) if int(codes.min()) < 0 else int(codes.max())
        raise VocolabError(f"code {worst}", "codes", f"the codec has codes 0 to {size - 1}")
    return codes


def batch_lengths(wav: Tensor, lengths: Tensor | None) -> Tensor:
    """lengths (B,) on wav's device, all of wav (B, T) where None."""
    if lengths is None:
        return torch.full((wav.shape[0],), wav.shape[1], device=wav.device)
    return torch.as_tensor(lengths, device=wav.device)


def keeping_precision(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`fn` as `nn.Module._apply` takes it, but for a step down in precision: a codec that trains along with a model in
    bfloat16 would give other codes for the same speech.
    """

    def kept(tensor: Tensor) -> Tensor:
        new = fn(tensor)
        return new if new.dtype.itemsize >= tensor.dtype.itemsize else tensor.to(new.device)

    return kept
