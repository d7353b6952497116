"""Attention of the backbones, and the keys and values of past positions.

A block is written once, for training and for decoding. It is given a context with a method `attend(index, q, k, v)`:
`FullAttention` (a padded batch of whole sequences) or `KVCache` (all positions so far); in a window those of window.py.

    cache = KVCache()                              # or the one of the step before
    cache.begin(x, lengths)                        # cache.positions (B or 1, n), for RoPE or sinusoids
    for index, block in enumerate(blocks):         # q, k, v (B, H, n, Dh)
        mixed = cache.attend(index, q, k, v)       # (B, H, n, Dh)
    cache.finish()
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from vocolab.attention import scaled_dot_product_attention
from vocolab.errors import VocolabError
from vocolab.lm.backbones.base import Window, padding_mask
from vocolab.lm.backbones.stack import Context, Memory, Stack
from vocolab.lm.backbones.window import WindowAttention, WindowCache

FIRST_CAPACITY = 256  # slots; doubled whenever they run out


class FullAttention:
    """Attention inside a right-padded batch of whole sequences (B, L): causal, or each position sees all of its row.

    `dropout`: the share of the attention's weights that is dropped.
    """

    period: int | None = None

    def __init__(self, lengths: Tensor, length: int, *, causal: bool, dropout: float = 0.0) -> None:
        self.positions = torch.arange(length, device=lengths.device)[None]
        self.causal, self.dropout = causal, dropout
        self.mask: Tensor | None = None
        if not causal:  # under a causal mask no real position sees the padding, which stands behind it
            # In an empty row, position 0 counts as real: a softmax over nothing is NaN, and the NaN would reach the
            # gradients of the weights.
            seen = padding_mask(lengths, length) | (self.positions == 0)
            self.mask = seen[:, None, None]  # (B, 1, 1, L)

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (B, H, L, Dh) of layer `index` -> (B, H, L, Dh)."""
        return scaled_dot_product_attention(q, k, v, self.mask, causal=self.causal, dropout=self.dropout)


class KVCache(Memory):
    """Keys and values of all positions so far, in slots that all rows have in common.

    The last position of every row stands in the same slot; the first stands where the row's length puts it (`start`).
    So a step writes one slice and attends over one slice, and needs a mask only where the rows begin at unequal slots.
    The slots are written in place, and doubled in number when they run out.
    """

    def __init__(self) -> None:
        self.length = 0  # slots in use
        self.capacity = 0
        self.layers: list[Tensor] = []  # a layer: keys and values (2, B, H, capacity, Dh)
        self.start: Tensor | None = None  # (B,) the slot of each row's position 0; None: 0 for all
        # Of the `extend` under way: how many positions are new, how many of them are real, what they must not see.
        self._n = 0
        self._lengths: Tensor | None = None
        self._mask: Tensor | None = None

    @property
    def bytes(self) -> int:
        return sum(buffer.nelement() * buffer.element_size() for buffer in self.layers)

    def begin(self, x: Tensor, lengths: Tensor | None) -> None:
        """Make room for the new positions x (B, n, ...)."""
        n = x.shape[1]
        if self.length + n > self.capacity:
            self._grow(self.length + n)
        self._n, self._lengths = n, lengths
        self._mask = self._visible(n, x)
        self.positions = torch.arange(self.length, self.length + n, device=x.device)[None]
        if self.start is not None:
            self.positions = self.positions - self.start[:, None]

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append k, v (B, H, n, Dh) of layer `index`, and let q (B, H, n, Dh) see all positions up to its own."""
        begin, end = self.length, self.length + self._n
        if index == len(self.layers):
            self.layers.append(k.new_empty(2, *k.shape[:2], self.capacity, k.shape[3]))
        keys, values = self.layers[index].unbind(0)
        keys[:, :, begin:end] = k.detach()
        values[:, :, begin:end] = v.detach()
        mask = None if self._mask is None else self._mask.to(q.dtype)
        # Torch's own causal mask fits as many keys as queries, so it serves the first positions alone.
        causal = begin == 0 and self._n > 1
        return scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], mask, causal=causal)

    def finish(self) -> KVCache:
        lengths, self._lengths, self._mask = self._lengths, None, None
        if lengths is None or (kept := lengths.tolist()) == [self._n] * len(lengths):
            self.length += self._n
            return self
        self.length += max(kept)
        self._move_right([max(kept) - count for count in kept], lengths.device)
        return self

    def select(self, rows: Tensor) -> KVCache:
        new = type(self)()
        new.length, new.capacity = self.length, self.capacity
        new.layers = [buffer.index_select(1, rows) for buffer in self.layers]
        if self.start is not None and len(rows):
            start = self.start[rows]
            if first := int(start.min()):  # the longest rows are gone, and with them the use of the first slots
                new.length -= first
                for buffer in new.layers:
                    buffer[..., : new.length, :] = buffer[..., first : self.length, :].clone()
            new._set_start(start - first)
        return new

    def truncate(self, n: int | Tensor) -> KVCache:
        if isinstance(n, int):
            shortest = self.length - (0 if self.start is None else int(self.start.max()))
            self._check_can_go_back(n, shortest)
            self.length -= n
            return self
        counts = n.tolist()
        starts = [0] * len(counts) if self.start is None else self.start.tolist()
        for count, start in zip(counts, starts, strict=True):
            self._check_can_go_back(count, self.length - start)
        fewest = min(counts)
        self.length -= fewest
        self._move_right([count - fewest for count in counts], n.device)
        return self

    def _check_can_go_back(self, n: int, seen: int) -> None:
        if not 0 <= n <= seen:
            raise VocolabError(f"cannot go back {n} positions", f"the shortest row has {seen}", "truncate less")

    def _move_right(self, shifts: list[int], device: torch.device) -> None:
        """Move each row right by its shift, over what it has in its last slots, to end where the others end."""
        if not any(shifts):
            return
        for buffer in self.layers:
            for row, shift in enumerate(shifts):
                if shift:
                    buffer[:, row, :, shift : self.length] = buffer[:, row, :, : self.length - shift].clone()
        moved = torch.tensor(shifts, device=device)
        self._set_start(moved if self.start is None else self.start + moved)

    def _set_start(self, start: Tensor) -> None:
        self.start = start if bool(start.any()) else None

    def _visible(self, n: int, x: Tensor) -> Tensor | None:
        """What is added to the scores, (B or 1, 1, n, length + n): 0 where a slot is seen, -inf where not. None where
        torch's own causal mask, or none, will do.

        Padded positions of a row see and write something too; it is never read.
        """
        if self.start is None and (n == 1 or self.length == 0):
            return None
        slots = torch.arange(self.length + n, device=x.device)
        hidden = slots > self.length + torch.arange(n, device=slots.device)[:, None]  # (n, slots)
        if self.start is not None:
            hidden = hidden | (slots < self.start[:, None])[:, None]  # (B, n, slots)
        hidden = hidden.view(-1, 1, n, len(slots))
        return torch.zeros(hidden.shape, dtype=x.dtype, device=x.device).masked_fill_(hidden, float("-inf"))

    def _grow(self, needed: int) -> None:
        self.capacity = max(FIRST_CAPACITY, 2 * self.capacity, needed)
        for layer, old in enumerate(self.layers):
            new = old.new_empty(*old.shape[:3], self.capacity, old.shape[4])
            new[..., : self.length, :] = old[..., : self.length, :]
            self.layers[layer] = new


class Attending(Context, Protocol):
    """A context whose positions attend to each other: `FullAttention`, `KVCache` and their kin in a window."""

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (B, H, n, Dh) of layer `index` -> (B, H, n, Dh)."""


class AttentionStack(Stack):
    """A stack whose blocks attend. `attention_dropout`: in training, the share of the attention's weights dropped."""

    no_window = None
    full_attention: type[FullAttention] = FullAttention
    cache: type[KVCache] = KVCache
    window_attention: type[WindowAttention] = WindowAttention
    window_cache: type[WindowCache] = WindowCache
    attention_dropout: float = 0.0

    @property
    def dropped(self) -> float:
        return self.attention_dropout if self.training else 0.0

    def whole(self, lengths: Tensor, length: int, causal: bool) -> Context:
        return self.full_attention(lengths, length, causal=causal, dropout=self.dropped)

    def memory(self, x: Tensor) -> Memory:
        return self.cache()

    def whole_in(self, window: Window, lengths: Tensor, length: int) -> Context:
        return self.window_attention(window, length, dropout=self.dropped)

    def memory_in(self, window: Window) -> Memory:
        return self.window_cache(window)
