"""Keys and values of past positions, shared by every backbone with attention.

A layer is written once and is given what it attends over: `Whole` (a padded batch of whole sequences, for training) or
a `KVCache` (all positions so far, for decoding). Both answer `attend(layer, q, k, v)`.

    cache = state or KVCache()
    positions = cache.begin(n, x)                 # (B or 1, n), for RoPE or sinusoids
    for i, layer in enumerate(layers):            # q, k, v (B, H, n, Dh)
        mixed = cache.attend(i, q, k, v)          # (B, H, n, Dh)
    cache.advance(lengths)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vocolab.errors import VocolabError
from vocolab.lm.backbones.base import State, padding_mask

FIRST_CAPACITY = 256  # slots; doubled whenever they run out


class Whole:
    """Attention inside a right-padded batch of whole sequences (B, L): causal, or each position sees all of its row.

    Its weights are not dropped out: that would keep a CPU from the fused kernel, and halve its speed.
    """

    def __init__(self, lengths: Tensor, length: int, *, causal: bool) -> None:
        self.causal = causal
        self.mask = None
        if not causal:  # under a causal mask no real position sees the padding, which stands behind it
            self.mask = padding_mask(lengths, length)[:, None, None]  # (B, 1, 1, L)
            # An empty row would have nothing to see, and the NaN of its softmax would reach the weights' gradients.
            self.mask = self.mask | (torch.arange(length, device=lengths.device) == 0)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (B, H, L, Dh) -> (B, H, L, Dh)."""
        return F.scaled_dot_product_attention(q, k, v, self.mask, is_causal=self.causal)


class KVCache(State):
    """All rows share the next free slot: they end at the same one and begin at their own `start`.

    So a step writes one slice and attends over one slice, with a mask only where the rows begin at unequal slots.
    Memory doubles when it is full and is never re-concatenated. Written in place and without gradient.
    """

    def __init__(self) -> None:
        self.length = 0  # slots in use
        self.capacity = 0
        self.layers: list[Tensor] = []  # a layer: keys and values (2, B, H, capacity, Dh)
        self.start: Tensor | None = None  # (B,) the slot of each row's position 0; None: 0 for all
        self._batch: tuple[int, torch.device] = (0, torch.device("cpu"))
        self._n = 0
        self._mask: Tensor | None = None  # of the current `extend`

    def begin(self, n: int, x: Tensor) -> Tensor:
        """Make room for `n` more positions of x (B, ...); the position of each in its row: (B, n), or (1, n) where all
        rows agree.
        """
        self._n, self._batch = n, (len(x), x.device)
        if self.length + n > self.capacity:
            self._grow(self.length + n)
        self._mask = self._visible(n, x.dtype)
        positions = torch.arange(self.length, self.length + n, device=x.device)[None]
        return positions if self.start is None else positions - self.start[:, None]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append k, v (B, H, n, Dh) and let q (B, H, n, Dh) see all positions up to its own."""
        begin, end = self.length, self.length + self._n
        if layer == len(self.layers):
            self.layers.append(k.new_empty(2, *k.shape[:2], self.capacity, k.shape[3]))
        keys, values = self.layers[layer].unbind(0)
        keys[:, :, begin:end] = k.detach()
        values[:, :, begin:end] = v.detach()
        causal = begin == 0 and self._n > 1  # the mask of SDPA's own is for squares
        mask = None if self._mask is None else self._mask.to(q.dtype)
        # A single query: SDPA and a pair of bmm take equally long on a CPU.
        return F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], mask, is_causal=causal)

    def advance(self, lengths: Tensor | None = None) -> KVCache:
        """End an `extend`: of its n right-padded positions the first lengths[b] of row b stay."""
        self._mask = None
        if lengths is None or (kept := lengths.tolist()) == [self._n] * len(lengths):
            self.length += self._n
            return self
        end = self.length + max(kept)
        shifts = [max(kept) - count for count in kept]
        for buffer in self.layers:
            for row, shift in enumerate(shifts):
                if shift:  # moved right over its padding, to end where the others end
                    buffer[:, row, :, shift:end] = buffer[:, row, :, : end - shift].clone()
        self.length = end
        start = torch.zeros_like(lengths) if self.start is None else self.start
        self._set_start(start + torch.tensor(shifts, device=start.device))
        return self

    def select(self, rows: Tensor) -> KVCache:
        new = KVCache()
        new.length, new.capacity = self.length, self.capacity
        new.layers = [buffer.index_select(1, rows) for buffer in self.layers]
        if self.start is not None and len(rows):
            start = self.start[rows]
            if first := int(start.min()):  # the longest rows are gone: nobody needs the first slots
                new.length -= first
                for buffer in new.layers:
                    buffer[..., : new.length, :] = buffer[..., first : self.length, :].clone()
            new._set_start(start - first)
        return new

    def truncate(self, n: int) -> KVCache:
        shortest = self.length - (0 if self.start is None else int(self.start.max()))
        if not 0 <= n <= shortest:
            raise VocolabError(f"cannot go back {n} positions", f"the shortest row has {shortest}", "truncate less")
        self.length -= n
        return self

    def _set_start(self, start: Tensor) -> None:
        self.start = start if bool(start.any()) else None

    def _visible(self, n: int, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores, (B or 1, 1, n, length + n): 0 or -inf; None where nothing past is hidden.

        A row's padded positions see and write something too; nobody reads it.
        """
        if self.start is None and (n == 1 or self.length == 0):
            return None
        slots = torch.arange(self.length + n, device=self._batch[1])
        hidden = slots > self.length + torch.arange(n, device=slots.device)[:, None]  # (n, slots)
        if self.start is not None:
            hidden = hidden | (slots < self.start[:, None])[:, None]  # (B, n, slots)
        hidden = hidden.view(-1, 1, n, len(slots))
        return torch.zeros(hidden.shape, dtype=dtype, device=slots.device).masked_fill_(hidden, float("-inf"))

    def _grow(self, needed: int) -> None:
        self.capacity = max(FIRST_CAPACITY, 2 * self.capacity, needed)
        for layer, old in enumerate(self.layers):
            new = old.new_empty(*old.shape[:3], self.capacity, old.shape[4])
            new[..., : self.length, :] = old[..., : self.length, :]
            self.layers[layer] = new
