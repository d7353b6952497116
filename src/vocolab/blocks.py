"""Speech of frames that come in, each sample computed with all the frames that it depends on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Tail:
    """The end of a signal that grows, addressed by places in the whole signal."""

    def __init__(self) -> None:
        self.pieces: list[Tensor] = []  # (n, ...) each
        self.start = self.stop = 0  # places

    def append(self, piece: Tensor) -> None:
        self.pieces.append(piece)
        self.stop += len(piece)

    def read(self, first: int, last: int) -> Tensor:
        self.pieces = [torch.cat(self.pieces)]
        return self.pieces[0][first - self.start : last - self.start]

    def forget(self, before: int) -> None:
        """Keep nothing from before a place."""
        if before > self.start:
            self.pieces = [self.read(before, self.stop).clone()]  # a view would keep all in memory
            self.start = before


class Blocks:
    """The speech of frames, block by block: together what `speak` makes of all frames at once."""

    def __init__(self, speak: Callable[[Tensor], Tensor], context: int, hop: int):
        """`speak`: frames (n, ...) to a waveform (n·hop,); a sample depends on its own frame and on `context` frames
        before and after it.
        """
        self.speak, self.context, self.hop = speak, context, hop
        self.frames = Tail()
        self.first = 0  # frame to be spoken next

    def add(self, frames: Tensor) -> Tensor:
        """Take the next frames (n, ...); the speech (T,), on the CPU, that no later frame can change."""
        self.frames.append(frames)
        return self._speech(self.frames.stop - self.context)

    def rest(self) -> Tensor:
        """The speech of the frames that waited for others."""
        return self._speech(self.frames.stop)

    def _speech(self, last: int) -> Tensor:
        first = self.first
        if last <= first:
            return torch.zeros(0)
        start = max(0, first - self.context)
        wav = self.speak(self.frames.read(start, self.frames.stop))
        self.first = last
        self.frames.forget(max(0, last - self.context))
        return wav[(first - start) * self.hop : (last - start) * self.hop].cpu()
