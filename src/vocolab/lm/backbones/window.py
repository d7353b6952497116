"""Attention in a sliding window (`base.Window`): of a batch of whole sequences, and step by step in constant memory."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from vocolab.attention import scaled_dot_product_attention
from vocolab.errors import VocolabError
from vocolab.lm.backbones.base import Window
from vocolab.lm.backbones.compiled import uncompiled
from vocolab.lm.backbones.stack import Memory

FIRST_CAPACITY = 256  # slots; doubled until a window fits
BLOCK = 256  # positions of a whole sequence that attend at once
SLACK = 128  # frames beyond the window that a cache holds before it drops them all at once


class WindowAttention:
    """Attention inside a right-padded batch of whole sequences (B, L), in blocks of positions.

    A block attends to the prefixes and to the frames within its window alone, so time and memory grow with the length,
    not with its square. `dropout`: the share of the attention's weights that is dropped.
    """

    def __init__(self, window: Window, length: int, *, dropout: float = 0.0) -> None:
        self.dropout = dropout
        self.period: int | None = window.period
        positions = torch.arange(length, device=window.prefix.device)
        place = positions[None]
        if window.phase is not None:
            place = place + window.phase[:, None] * (place >= window.prefix[:, None])
        self.positions = place % window.period  # (B or 1, L)
        self.fixed = int(window.prefix.max())
        self.blocks: list[tuple[int, int, int, Tensor]] = []  # first and last query, first key after `fixed`, mask
        if length <= int(window.prefix.min()) + window.frames:
            return  # every frame sees all before it
        for begin in range(0, length, BLOCK):
            end = min(begin + BLOCK, length)
            since = min(max(begin - window.frames + 1, self.fixed), end)
            keys = torch.cat([positions[: min(self.fixed, end)], positions[since:end]])
            self.blocks.append((begin, end, since, visible(window, positions[begin:end], keys)))

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (B, H, L, Dh) of layer `index` -> (B, H, L, Dh)."""
        return uncompiled(self._attend)(q, k, v)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not self.blocks:
            return scaled_dot_product_attention(q, k, v, causal=True, dropout=self.dropout)
        mixed = [
            scaled_dot_product_attention(
                q[:, :, begin:end],
                self._keys(k, since, end),
                self._keys(v, since, end),
                mask,
                dropout=self.dropout,
            )
            for begin, end, since, mask in self.blocks
        ]
        return torch.cat(mixed, dim=2)

    def _keys(self, x: Tensor, since: int, end: int) -> Tensor:
        """x of the prefixes and of positions `since` to `end`."""
        if since <= self.fixed:
            return x[:, :, :end]
        return torch.cat([x[:, :, : self.fixed], x[:, :, since:end]], dim=2)


def visible(window: Window, queries: Tensor, keys: Tensor) -> Tensor:
    """(B, 1, n, m) bool: which of the positions `keys` (m,) each of the positions `queries` (n,) sees."""
    ago = queries[:, None] - keys
    seen = (keys < window.prefix[:, None, None]) | (ago < window.frames)
    return (seen & (ago >= 0))[:, None]


class WindowCache(Memory):
    """Keys and values of the prefix and of the last frames, in slots that all rows have in common.

        slot   0 ................. fixed ................................... length
        row b  (none) prefix of b  | (none: `blank[b]` slots) last frames of b

    Prefixes end at one slot and never move; the last frame of every row stands in one slot. Once there are `SLACK`
    frames more than a new one sees, all that it does not see are dropped and the rest is moved to the left. So memory
    and time a step are constant. An `extend` of several positions can always be taken back.
    """

    def __init__(self, window: Window) -> None:
        self.window, self.period = window, window.period
        self.fixed = self.length = self.capacity = 0
        self.layers: list[Tensor] = []  # a layer: keys and values (2, B, H, capacity, Dh)
        self.seen: Tensor | None = None  # (B,) positions of each row so far, dropped ones included
        self.blank = torch.zeros_like(window.prefix)  # (B,)
        self.even = True  # the prefixes are of one length, and no slot is blank
        # Of the `extend` under way: its number of positions, how many are real, and what is added to the scores; of the
        # first, the attention inside it and the positions (B, slots) that are kept.
        self._n = 0
        self._lengths: Tensor | None = None
        self._mask: Tensor | None = None
        self._first: WindowAttention | None = None
        self._kept: Tensor | None = None

    @property
    def bytes(self) -> int:
        return sum(buffer.nelement() * buffer.element_size() for buffer in self.layers)

    def begin(self, x: Tensor, lengths: Tensor | None) -> None:
        """Make room for the new positions x (B, n, ...); the first ones hold the whole prefix."""
        self._n, self._lengths = x.shape[1], lengths
        if self.seen is None:
            self._begin_first(x, lengths)
            return
        if self.length - self.fixed >= self.window.frames + SLACK:
            self._drop()
        self._grow(self.length + self._n)
        self._mask = self._added(x)
        new = torch.arange(self._n, device=x.device)
        self.positions = (self.seen[:, None] + new) % self.window.period  # (B, n)

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append k, v (B, H, n, Dh) of layer `index`, and let q (B, H, n, Dh) see what the window shows."""
        if self._first is not None:
            assert self._kept is not None
            kept = self._kept[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3])
            buffer = k.new_empty(2, *k.shape[:2], self.capacity, k.shape[3])
            buffer[..., : kept.shape[2], :] = torch.stack([k.detach().gather(2, kept), v.detach().gather(2, kept)])
            self.layers.append(buffer)
            return self._first.attend(index, q, k, v)
        begin, end = self.length, self.length + self._n
        keys, values = self.layers[index].unbind(0)
        keys[:, :, begin:end] = k.detach()
        values[:, :, begin:end] = v.detach()
        mask = None if self._mask is None else self._mask.to(q.dtype)
        return scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], mask)

    def finish(self) -> WindowCache:
        lengths, self._lengths, self._mask = self._lengths, None, None
        assert self.seen is not None
        if self._first is not None:
            assert self._kept is not None
            self.length = self._kept.shape[1]
            self._first = self._kept = None
            return self
        self.seen = self.seen + (self._n if lengths is None else lengths)
        if lengths is None or (real := lengths.tolist()) == [self._n] * len(lengths):
            self.length += self._n
            return self
        self.length += max(real)
        self._move_right([max(real) - count for count in real])
        return self

    def select(self, rows: Tensor) -> WindowCache:
        assert self.seen is not None
        new = type(self)(dataclasses.replace(self.window, prefix=self.window.prefix[rows]))
        new.fixed, new.length, new.capacity = self.fixed, self.length, self.capacity
        new.layers = [buffer.index_select(1, rows) for buffer in self.layers]
        new.seen, new.blank = self.seen[rows], self.blank[rows]
        if len(rows) and (
            unused := self.fixed - int(new.window.prefix.max())
        ):  # the rows of the longest prefix are gone
            new.fixed, new.length = self.fixed - unused, self.length - unused
            for buffer in new.layers:
                buffer[..., : new.length, :] = buffer[..., unused : self.length, :].clone()
        new._look()
        return new

    def truncate(self, n: int | Tensor) -> WindowCache:
        assert self.seen is not None
        counts = torch.as_tensor(n, device=self.seen.device).expand_as(self.seen)
        held = self.length - self.fixed - self.blank
        dropped = self.seen - self.window.prefix > held
        known = held - dropped * (self.window.frames - 1)
        wrong = (counts < 0) | (counts > known)
        if wrong.any():
            back, last = int(counts[wrong][0]), int(known[wrong][0])
            raise VocolabError(f"cannot go back {back} positions", f"a window knows its last {last}", "truncate less")
        self.seen = self.seen - counts
        each = [n] if isinstance(n, int) else counts.tolist()
        self.length -= min(each)
        self._move_right([count - min(each) for count in each])
        return self

    def _begin_first(self, x: Tensor, lengths: Tensor | None) -> None:
        self.seen = torch.full_like(self.window.prefix, self._n) if lengths is None else lengths.to(self.window.prefix)
        frames = self.seen - self.window.prefix
        assert bool((frames >= 0).all()), "the first positions hold the whole prefix"
        self._first = WindowAttention(self.window, self._n)
        self.positions = self._first.positions
        self.fixed = self._first.fixed
        most = int(frames.max())
        slots = torch.arange(self.fixed + most, device=x.device)
        # Prefixes end at slot `fixed`, frames at the last one.
        back = torch.where(
            slots < self.fixed, self.fixed - self.window.prefix[:, None], self.fixed + most - self.seen[:, None]
        )
        self._kept = (slots - back).clamp(min=0)
        self.blank = most - frames
        self._look()
        self._grow(len(slots))

    def _look(self) -> None:
        self.even = not bool(self.blank.any()) and bool((self.window.prefix == self.fixed).all())

    def _move_right(self, shifts: list[int]) -> None:
        """Move the frames of each row by its shift, over its last slots, to end where those of the others end."""
        if not any(shifts):
            return
        for buffer in self.layers:
            for row, shift in enumerate(shifts):
                if shift:
                    frames = buffer[:, row, :, self.fixed : self.length - shift].clone()
                    buffer[:, row, :, self.fixed + shift : self.length] = frames
        self.blank = self.blank + torch.tensor(shifts, device=self.blank.device)
        self._look()

    def _drop(self) -> None:
        """Drop the frames that no new one sees."""
        kept = self.window.frames - 1
        dropped = self.length - self.fixed - kept
        for buffer in self.layers:
            buffer[..., self.fixed : self.fixed + kept, :] = buffer[..., self.length - kept : self.length, :].clone()
        self.length = self.fixed + kept
        if not self.even:
            self.blank = (self.blank - dropped).clamp(min=0)
            self._look()

    def _added(self, x: Tensor) -> Tensor | None:
        """What is added to the scores, (B or 1, 1, n, length + n): 0 where a slot is seen, -inf where not. None where
        all are seen.
        """
        n, frames = self._n, self.window.frames
        if self.even and n == 1 and self.length + 1 - self.fixed <= frames:
            return None
        slots = torch.arange(self.length + n, device=x.device)
        ago = slots[self.length :, None] - slots  # (n, slots)
        hidden = (ago < 0) | ((ago >= frames) & (slots >= self.fixed))
        if not self.even:
            before = self.fixed - self.window.prefix[:, None]  # (B, 1) slots that the prefix leaves empty
            empty = (slots < before) | ((slots >= self.fixed) & (slots < self.fixed + self.blank[:, None]))
            hidden = hidden | empty[:, None]  # (B, n, slots)
        hidden = hidden.view(-1, 1, n, len(slots))
        return torch.zeros(hidden.shape, dtype=x.dtype, device=x.device).masked_fill_(hidden, float("-inf"))

    def _grow(self, needed: int) -> None:
        if needed <= self.capacity:
            return
        enough = self.fixed + self.window.frames + SLACK + self._n  # more is never needed
        self.capacity = max(min(max(FIRST_CAPACITY, 2 * self.capacity), enough), needed)
        for layer, old in enumerate(self.layers):
            new = old.new_empty(*old.shape[:3], self.capacity, old.shape[4])
            new[..., : self.length, :] = old[..., : self.length, :]
            self.layers[layer] = new
