"""Random numbers that are functions of their place: number i of a key is known without the numbers before it.

So the batches of a training (`data/plan.py`), the draws of a spoken text (`lm/`) and what an update draws
(`tasks/base.py`) are the same on every machine and device, after a resume, and in any batch. Everything here is
SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): a counter is multiplied by
the golden ratio's 64 bits and scrambled. The numbers are frozen: runs resume with them, and a seed keeps its speech.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio
_STREAM = 0xD1342543DE82EF95  # an odd number that sets the streams of a seed apart
_ROUNDS = 8  # of the Feistel network


def mix(*values: int) -> int:
    """64 well-mixed bits of integers, for seeds and keys."""
    state = 0
    for value in values:
        state = _scramble_int((state + (value & _MASK) + _GOLDEN) & _MASK)
    return state


def draw(numbers: np.ndarray, limits: np.ndarray, key: int) -> np.ndarray:
    """A random integer (b,) below each of `limits` (b,) for each of `numbers` (b,), chosen by `key`."""
    bits = _scramble(numbers.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(key))
    return (bits % limits.astype(np.uint64)).astype(np.int64)  # signed limits would turn all of it into floats


def permute(numbers: np.ndarray, n: int, key: int) -> np.ndarray:
    """Where a pseudo-random permutation of range(n), chosen by `key`, puts each of `numbers` (b,).

    A Feistel network over a grid of about n cells, left and right half added modulo its sides (Black and Rogaway 2002,
    §5); numbers that leave range(n) walk on along their cycle until they return.
    """
    side = max(int(np.ceil(np.sqrt(n))), 1)
    other = -(-n // side)
    keys = [mix(key, r) for r in range(_ROUNDS)]

    def grid(x: np.ndarray) -> np.ndarray:
        left, right = x // other, x % other
        for r in range(0, _ROUNDS, 2):
            left = (left + _scramble(right ^ keys[r]) % side) % side
            right = (right + _scramble(left ^ keys[r + 1]) % other) % other
        return left * other + right

    out = grid(np.asarray(numbers).astype(np.uint64))
    while (outside := out >= n).any():
        out[outside] = grid(out[outside])
    return out.astype(np.int64)


def uniforms(seeds: Tensor, count: int, stream: int = 0, start: int = 0) -> Tensor:
    """Numbers `start` to start + count - 1, (B, count) float64 in (0, 1), on the device of `seeds` (B,) int64: number i
    of row b is a function of seeds[b], `stream` and i alone. Float32 where the device has no float64 (mps).
    """
    keys = _scramble(seeds.cpu().numpy().astype(np.uint64)) + np.uint64((stream + 1) * _STREAM & _MASK)
    counter = np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    bits = _scramble(_scramble(keys)[:, None] + counter) >> np.uint64(40)  # the upper 24
    drawn = torch.from_numpy((bits + 0.5) / 2**24)
    return (drawn.float() if seeds.device.type == "mps" else drawn).to(seeds.device)


def _scramble(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer of uint64 (b,), whose products wrap."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


def _scramble_int(x: int) -> int:
    """The same for one Python integer, for which numpy would warn of the overflow."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)
