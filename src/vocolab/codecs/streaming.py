"""Decoding of codes that come in, a few frames at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from vocolab.blocks import Blocks


class Decoding(ABC):
    """The codes of one signal in, its speech out: put together, it is what `Codec.decode` makes of all codes at once,
    to rounding, however the codes are cut. `Codec.decoding` begins one.
    """

    @abstractmethod
    def feed(self, codes: Tensor) -> Tensor:
        """Take the next frames (k, n), n from 1; the speech (T,), on the CPU, that no later frame can change."""

    @abstractmethod
    def end(self) -> Tensor:
        """The rest of the speech (T,). Nothing can be fed after it."""


class AtEnd(Decoding):
    """For a codec of which nobody knows how far its samples depend on frames: all speech comes at the end."""

    def __init__(self, decode: Callable[[Tensor], Tensor]):
        """`decode`: `Codec.decode`."""
        self.decode = decode
        self.codes: list[Tensor] = []

    def feed(self, codes: Tensor) -> Tensor:
        self.codes.append(codes)
        return torch.zeros(0)

    def end(self) -> Tensor:
        return self.decode(torch.cat(self.codes, dim=1)[None])[0].cpu() if self.codes else torch.zeros(0)


class InWindows(Decoding):
    """For a codec whose samples depend on `context` frames on either side: each block is decoded with those."""

    def __init__(self, decode: Callable[[Tensor], Tensor], context: int, hop: int):
        """`decode`: `Codec.decode`."""
        self.blocks = Blocks(lambda frames: decode(frames.t()[None])[0], context, hop)

    def feed(self, codes: Tensor) -> Tensor:
        return self.blocks.add(codes.t())

    def end(self) -> Tensor:
        return self.blocks.rest()
