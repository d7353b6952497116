"""The memories of decoding in tensors of fixed size: those of `backbones`, for steps of one position.

Each is made for the state that a backbone has after the prefix, and is a context for the backbone's blocks as that
state is. `begin` and `finish` compute with tensors and write in place, so a step can be recorded and repeated.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable

import torch
from torch import Tensor

from vocolab.lm import fast
from vocolab.lm.backbones.base import State
from vocolab.lm.backbones.cache import KVCache
from vocolab.lm.backbones.retention import RetentionState, decay_sums, rotations
from vocolab.lm.backbones.stack import Memory
from vocolab.lm.backbones.window import WindowCache
from vocolab.lm.static.graphs import autocast_dtype

PREFIX_SLOTS = 256  # the prefix of a window gets a multiple of so many, so that few sizes exist


class Unsupported(Exception):
    """What cannot be decoded with a static state, in words for the user."""


Part = tuple[Tensor, int | None]  # a tensor and which of its dimensions are the rows; None where it has no rows


class StaticMemory(Memory):
    """A memory whose tensors stay where they are."""

    @abstractmethod
    def tensors(self) -> list[Part]:
        """What changes while decoding."""

    @abstractmethod
    def load(self, state: State) -> None:
        """Become `state`, which a backbone has after the prefix. It is of the kind that the memory was made for."""

    def select(self, rows: Tensor) -> StaticMemory:
        raise NotImplementedError("the rows of a static memory stay")

    def truncate(self, n: int | Tensor) -> StaticMemory:
        raise NotImplementedError("a static memory goes forward alone")


def static_memory(state: State, rows: int, capacity: int) -> StaticMemory:
    """A memory of so many rows for what follows a state like `state`; `capacity`: positions of attention without a
    window. Raises `Unsupported`.
    """
    if isinstance(state, KVCache):
        return StaticCache(state, rows, capacity)
    if isinstance(state, WindowCache):
        return StaticWindowCache(state, rows)
    if isinstance(state, RetentionState):
        return StaticRetention(state, rows)
    raise Unsupported(f"{type(state).__name__} has no static form")


def kind(state: State) -> Hashable:
    """Equal for states that one static memory can become, of one model and with as many rows and as much capacity."""
    if isinstance(state, WindowCache):
        return type(state), prefix_slots(state), state.window.frames, state.window.period
    return type(state)


def prefix_slots(state: WindowCache) -> int:
    return -(-state.fixed // PREFIX_SLOTS) * PREFIX_SLOTS


def positions_held(state: State) -> int:
    """How many of the capacity's slots `state` has used."""
    return state.length if isinstance(state, KVCache) else 0


class _Attending(StaticMemory):
    """Keys and values in slots, one position a step; a subclass says which slot it gets and which slots are seen."""

    layers: list[Tensor]  # a layer: keys and values (2, B, H, slots, Dh)
    slot: Tensor  # (1,) of the new position
    seen: Tensor  # (B, slots) bool

    def _make(self, layers: list[Tensor], rows: int, slots: int, double: bool) -> None:
        """`double`: attention in double precision, as in `fast.DoubleCache`."""
        first = layers[0]
        dtype = first.dtype
        if double and dtype == torch.float32:
            dtype = torch.float64
        else:
            dtype = autocast_dtype(first.device) or dtype  # otherwise every step would convert all of it
        heads, width = first.shape[2], first.shape[4]
        self.layers = [layer.new_zeros(2, rows, heads, slots, width, dtype=dtype) for layer in layers]
        self.slots = torch.arange(slots, device=first.device)

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Put k, v (B, H, 1, Dh) of layer `index` into their slot, and let q (B, H, 1, Dh) see what it sees.

        Two products: kernels made for many queries leave a GPU idle with one.
        """
        keys, values = self.layers[index].unbind(0)
        keys.index_copy_(2, self.slot, k.to(keys.dtype))
        values.index_copy_(2, self.slot, v.to(values.dtype))
        scores = q.to(keys.dtype) @ keys.transpose(-1, -2)  # (B, H, 1, slots)
        weights = torch.add(self.added, scores, alpha=q.shape[-1] ** -0.5).softmax(-1)
        return (weights.to(values.dtype) @ values).to(q.dtype)

    def _see(self, seen: Tensor) -> None:
        """seen (B, slots)."""
        zeros = torch.zeros(seen.shape, dtype=torch.float32, device=seen.device)
        self.added = zeros.masked_fill_(~seen, float("-inf"))[:, None, None]


class StaticCache(_Attending):
    """`KVCache` of a fixed number of slots."""

    def __init__(self, state: KVCache, rows: int, capacity: int) -> None:
        self._make(state.layers, rows, capacity, isinstance(state, fast.DoubleCache))
        self.slot = self.slots.new_zeros(1)
        self.start = self.slots.new_zeros(rows)

    def tensors(self) -> list[Part]:
        return [*((layer, 1) for layer in self.layers), (self.slot, None), (self.start, 0)]

    def load(self, state: State) -> None:
        assert isinstance(state, KVCache)
        for static, layer in zip(self.layers, state.layers, strict=True):
            # What is not seen has the weight 0, which an infinity of another text would turn into NaN.
            static.zero_()
            static[..., : state.length, :].copy_(layer[..., : state.length, :])
        self.slot.fill_(state.length)
        if state.start is None:
            self.start.zero_()
        else:
            self.start.copy_(state.start)

    def begin(self, x: Tensor, lengths: Tensor | None) -> None:
        self.positions = (self.slot - self.start)[:, None]
        self._see((self.slots <= self.slot) & (self.slots >= self.start[:, None]))

    def finish(self) -> StaticCache:
        self.slot += 1
        return self


class StaticWindowCache(_Attending):
    """`WindowCache` as a ring: the slots of the prefix stay, and a frame takes the slot of the one that the window has
    just left behind.

        slot   0 ........ prefix of row b ........ fixed .................. fixed + frames
        row b  (none)   | right-aligned          | frame n at n mod frames
    """

    def __init__(self, state: WindowCache, rows: int) -> None:
        self.frames, self.period = state.window.frames, state.window.period
        self.fixed = prefix_slots(state)
        self._make(state.layers, rows, self.fixed + self.frames, isinstance(state, fast.DoubleWindowCache))
        self.slot = self.slots.new_full((1,), self.fixed)
        self.count = self.slots.new_zeros(1)  # frames so far
        self.prefix = state.window.prefix.new_zeros(rows)

    def tensors(self) -> list[Part]:
        return [*((layer, 1) for layer in self.layers), (self.slot, None), (self.count, None), (self.prefix, 0)]

    def load(self, state: State) -> None:
        assert isinstance(state, WindowCache)
        assert state.length == state.fixed, "the state after the prefix holds no frames"
        for static, layer in zip(self.layers, state.layers, strict=True):
            static.zero_()
            static[..., self.fixed - state.fixed : self.fixed, :].copy_(layer[..., : state.fixed, :])
        self.slot.fill_(self.fixed)
        self.count.zero_()
        self.prefix.copy_(state.window.prefix)

    def begin(self, x: Tensor, lengths: Tensor | None) -> None:
        assert self.period is not None
        self.positions = (self.prefix + self.count)[:, None] % self.period
        prefix = (self.slots < self.fixed) & (self.slots >= self.fixed - self.prefix[:, None])
        frames = (self.slots >= self.fixed) & (self.slots - self.fixed <= self.count)
        self._see(prefix | frames)

    def finish(self) -> StaticWindowCache:
        self.count += 1
        self.slot.copy_(self.fixed + self.count % self.frames)
        return self


class StaticRetention(StaticMemory):
    """`RetentionState` for steps of one position, without what `truncate` needs."""

    def __init__(self, state: RetentionState, rows: int) -> None:
        self.log_decay, self.width = state.log_decay, state.width
        self.decay = self.log_decay.exp()[:, None, None]
        layers, _, *shape = state.memory.shape
        self.memory = state.memory.new_zeros(layers, rows, *shape)  # (layers, B, H, Dk, Dv)
        self.position = state.position.new_zeros(rows)

    def tensors(self) -> list[Part]:
        return [(self.memory, 1), (self.position, 0)]

    def load(self, state: State) -> None:
        assert isinstance(state, RetentionState)
        self.memory.copy_(state.memory)
        self.position.copy_(state.position)

    def begin(self, x: Tensor, lengths: Tensor | None) -> None:
        self.positions = self.position[:, None]
        self.rotation = rotations(self.positions, decay_sums(self.positions + 1, self.log_decay), self.width)
        self.memory *= self.decay

    def retain(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k (B, H, 1, Dk), v (B, H, 1, Dv) of layer `index` -> (B, H, 1, Dv)."""
        return q @ self.memory[index].addcmul_(k.transpose(-1, -2), v)

    def finish(self) -> StaticRetention:
        self.position += 1
        return self
