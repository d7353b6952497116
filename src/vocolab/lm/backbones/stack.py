"""The base of backbones that are a stack of equal blocks on a residual stream."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vocolab.lm.backbones.base import Backbone, Output, State, Window, padding_mask
from vocolab.lm.backbones.compiled import Compiled, through
from vocolab.lm.backbones.dropout import dropout
from vocolab.lm.backbones.layers import Linear, linear_name, require_heads


class Context(Protocol):
    """What the positions of a pass can see: the other positions of a whole sequence, or those a `Memory` holds.

    Besides `positions` it has the method that mixes positions, by layer: `attend` or `retain`.
    """

    positions: Tensor  # (B or 1, L): where in its row each position of x stands
    period: int | None  # after how many positions they repeat, see `Window`


class Memory(State):
    """A context for decoding: the blocks read it and add the new positions to it, layer by layer."""

    positions: Tensor
    period: int | None = None

    @abstractmethod
    def begin(self, x: Tensor, lengths: Tensor | None) -> None:
        """Before the first layer: x (B, n, D) are new positions, of which the first lengths[b] of row b are real."""

    @abstractmethod
    def finish(self) -> Memory:
        """After the last layer: the memory with the real ones of the new positions."""


class Stack(Backbone):
    """`layers` equal blocks of width `dim`, each with `heads` heads and a feed-forward layer of width `ffn` (None: four
    times `dim`), with a final norm.

    `dropout`: of the input and of what each block adds. `gradient_checkpointing`: in training the insides of each block
    are computed again in the backward pass instead of kept. `linear`: the class of the matrices, see
    `layers.linear_class`.

    A subclass makes its blocks and says how a pass goes (`pass_through`) and which context whole sequences and decoding
    have (`whole`, `memory`), and have in a window, if it takes one (`whole_in`, `memory_in`). Its blocks are modules
    `block(x, context, index, *rest) -> (x, balance loss or None)`.
    """

    compiled: Compiled | None = None  # how whole sequences go through the blocks, where not as the blocks are

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        ffn: int | None,
        dropout: float,
        gradient_checkpointing: bool,
        linear: Linear,
    ) -> None:
        super().__init__()
        require_heads(dim, heads)
        self.dim, self.heads, self.layers, self.ffn = dim, heads, layers, ffn
        self.dropout = dropout
        self.gradient_checkpointing = gradient_checkpointing
        self.linear = linear_name(linear)

    @abstractmethod
    def pass_through(self, x: Tensor, context: Context, real: Tensor | None, level: Tensor | None) -> Output:
        """The output of the blocks and the final norm for x (B, L, D), whose positions are `context.positions`.

        real (B, L): which positions count for the balance of experts; None: no balance loss is needed. `level` as in
        `forward`.
        """

    @abstractmethod
    def whole(self, lengths: Tensor, length: int, causal: bool) -> Context:
        """The context of whole sequences (B, length), right-padded."""

    @abstractmethod
    def memory(self, x: Tensor) -> Memory:
        """An empty memory for sequences of which x (B, n, D) are the first positions."""

    def whole_in(self, window: Window, lengths: Tensor, length: int) -> Context:
        """The context of whole sequences (B, length) whose positions see no more than `window`."""
        raise NotImplementedError(self.no_window)

    def memory_in(self, window: Window) -> Memory:
        """An empty memory for sequences whose positions see no more than `window`."""
        raise NotImplementedError(self.no_window)

    def forward(
        self, x: Tensor, lengths: Tensor, *, causal: bool, level: Tensor | None = None, window: Window | None = None
    ) -> Output:
        assert causal or window is None, "a window is for causal passes"
        given = x.shape[1]
        if self.compiled is not None:
            x = self.compiled.padded(x, lengths)
        if window is None:
            context = self.whole(lengths, x.shape[1], causal)
        else:
            context = self.whole_in(window, lengths, x.shape[1])
        output = self.pass_through(x, context, padding_mask(lengths, x.shape[1]), level)
        if self.compiled is not None:
            output.hidden = output.hidden[:, :given]
        return output

    @torch.no_grad()
    def extend(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None, window: Window | None = None
    ) -> Output:
        if state is None:
            memory: State = self.memory(x) if window is None else self.memory_in(window)
        else:
            memory = state
        assert isinstance(memory, Memory)
        memory.begin(x, lengths)
        output = self.pass_through(x, memory, None, None)
        output.state = memory.finish()
        return output

    def run(
        self, blocks: Iterable[nn.Module], x: Tensor, context: Context, *rest: object
    ) -> tuple[Tensor, Tensor | None]:
        """x through the blocks, one after the other, and the mean of their balance losses."""
        x, losses = dropout(x, self.dropout, self.training), []
        checkpointed = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        decoding = isinstance(context, Memory)
        call = through if decoding or self.compiled is None else self.compiled.through
        for index, block in enumerate(blocks):
            if checkpointed:
                x, loss = checkpoint(call, block, x, context, index, *rest, use_reentrant=False)
            else:
                x, loss = call(block, x, context, index, *rest)
            losses.append(loss)
        return x, None if None in losses else torch.stack(losses).mean()
