"""What every backbone is: a sequence of vectors in, a sequence of vectors out. Masks, padding and caches are its own
affair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class State(ABC):
    """What a backbone remembers of the positions it has seen, a row for each sequence of the batch."""

    @abstractmethod
    def select(self, rows: Tensor) -> State:
        """The state of `rows` (R,), in that order; a row may be taken twice (beams) or left out (finished ones)."""

    @abstractmethod
    def truncate(self, n: int | Tensor) -> State:
        """The state as it was `n` positions ago, for rejected drafts; n may differ from row to row, (B,).

        Raises `VocolabError` where that is no longer known: a recurrent state knows its last `extend`, or the end of a
        long one.
        """


@dataclass
class Output:
    """What a backbone makes of a batch."""

    hidden: Tensor  # (B, L, D); beyond a row's length the values mean nothing
    aux_loss: Tensor | None = None  # scalar that balances the experts of a mixture; None where there are none
    state: State | None = None  # of `extend`


@dataclass(frozen=True)
class Window:
    """What a causal pass sees of the past, where it does not see all of it.

    The first `prefix[b]` positions of row b are its prefix: text, language, prompt and their separators. The frames of
    the response follow. Position t sees position s where s <= t and either

        s < prefix[b]          the whole prefix, always, for it holds what is to be said
        t - s < frames         the last `frames` frames of the response, t itself among them

    Positions repeat: n and n + `period` are one position, for an encoding whose waves all repeat in `period` positions
    (`layers.repeating`). `period` is at least `frames`, so that two frames which see each other are never one position.
    In training the positions of a response are moved on by a random `phase`: so every position is met, and the distance
    to the text does not tell how much was said. Hence nothing at frame 10,000 is new.
    """

    frames: int
    prefix: Tensor  # (B,)
    period: int
    phase: Tensor | None = None  # (B,) added to the positions of the response in `forward`; None: 0


class Backbone(nn.Module, ABC):
    """(B, L, dim) -> (B, L, dim).

    A backbone of one's own is a subclass with a field `dim` and the two methods below. Every argument of its
    constructor is kept as a field of the same name, from which a checkpoint rebuilds it. The size files
    (`configs/size/*.yaml`) set `dim`, `heads`, `layers` and `ffn`, and the recipes `dropout` and
    `gradient_checkpointing`: accept them where those files are to fit. `Stack` (backbones/stack.py) does so, and has
    what backbones made of equal blocks share; using it is optional.

    `forward` with `causal` and without use the same weights: `Unified` trains one network both ways. Weights must not
    belong to one direction alone, for distributed training waits for the gradient of each weight in every step.
    tests/lm/backbones/test_all.py holds any backbone to all this: add it to its `CASES`, or name it with --part.
    """

    dim: int
    no_window: str | None = "its backbone has no window"  # why it takes no `window`; None where it takes one

    @abstractmethod
    def forward(
        self, x: Tensor, lengths: Tensor, *, causal: bool, level: Tensor | None = None, window: Window | None = None
    ) -> Output:
        """Hidden states of whole sequences x (B, L, D), right-padded; lengths (B,).

        Row b equals what its first lengths[b] positions give alone. `causal`: no position sees a later one; otherwise
        each sees all of its row. `level` (B,) int64: the codebook level, for backbones that are conditioned on it
        (AdaLN); the others ignore it. `window`: a causal pass sees that much; never given to a backbone with
        `no_window`, which may leave the argument out.
        """

    @abstractmethod
    def extend(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None, window: Window | None = None
    ) -> Output:
        """The hidden states of n new positions of each row, x (B, n, D), that follow those in `state`; causal.

        `state` None begins, with at least the prefix of the `window` where one is given; the state keeps it.
        `lengths` (B,): how many of the n are real (right-padded), default all. The state given is used up: go on with
        `Output.state`. Equal to `forward(..., causal=True)` over all positions so far. Without gradient.
        """


def padding_mask(lengths: Tensor, length: int) -> Tensor:
    """(B, length) bool, True where a position is real."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]
