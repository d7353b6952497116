"""Retention, the linear attention of RetNet (Sun et al. 2023): one sum, computed three ways.

    out_n = q_n · Σ_{m ≤ n} γ^{n−m} k_m v_mᵀ / √Σ_{j ≤ n} γ^j          γ_h = 1 − 2^{−5−h}

The sum is computed for all positions at once (parallel), one position after another (recurrent, from a memory of fixed
size) or in chunks (chunkwise: parallel inside each chunk, with a memory of the chunks before it). All three give the
same numbers, because the divisor depends on positions alone. torchscale also divides by sums of the scores, and by
other ones in each form; so its forms differ slightly.

For the NAR, which sees both ways, the decay is γ^|n−m| and both sums run over all real positions of the row.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vocolab.errors import VocolabError
from vocolab.lm.backbones.base import padding_mask
from vocolab.lm.backbones.stack import Memory

CHUNK = 64  # positions taken at once. From 500 positions on, None, 128 and 256 were no faster on a CPU or an H200

UNDOABLE = 256  # positions of an `extend` that a state can take back: those of a draft, not those of a long prefill


def log_decays(heads: int, device: torch.device) -> Tensor:
    """ln γ of each head (H,), in fp32 whatever the model's dtype: γ of a late head is 1 in bf16."""
    return torch.log1p(-(2.0 ** (-5 - torch.arange(heads, device=device, dtype=torch.float32))))


def decay_sums(count: Tensor, log_decay: Tensor) -> Tensor:
    """Σ_{j < count} γ^j of counts (B, L) -> (B, L, H)."""
    return torch.expm1(count[..., None] * log_decay) / torch.expm1(log_decay)


def rotations(positions: Tensor, sums: Tensor, width: int) -> Tensor:
    """Complex factors (B, L, 2, H, width / 2) that rotate the pairs of channels of q and k by their position.

    Those of q also hold the scale 1 / √width and the divisor √sums (B, L, H): here these cost nothing.
    """
    rates = 10000 ** -torch.linspace(0, 1, width // 2, dtype=torch.float32, device=positions.device)
    angles = (positions[..., None] * rates)[..., None, None, :]  # (B, L, 1, 1, width / 2)
    size = torch.stack([(sums * width).rsqrt(), torch.ones_like(sums)], 2)[..., None]  # (B, L, 2, H, 1)
    return torch.polar(size.expand(*size.shape[:-1], width // 2), angles.expand(*size.shape[:-1], -1))


def rotate(qk: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """qk (B, L, 2·D) -> q, k (B, H, L, Dk), in fp32."""
    pairs = qk.float().unflatten(-1, (*rotation.shape[2:], 2))
    turned = torch.view_as_real(torch.view_as_complex(pairs) * rotation).flatten(-2)  # (B, L, 2, H, Dk)
    q, k = turned.permute(2, 0, 3, 1, 4).unbind(0)
    return q, k


def powers(exponents: Tensor, log_decay: Tensor) -> Tensor:
    """γ^exponents of each head (H, *), for exponents (*)."""
    return torch.exp(exponents * log_decay.view(-1, *[1] * exponents.dim()))


def remember(memory: Tensor, k: Tensor, v: Tensor, count: Tensor, log_decay: Tensor) -> Tensor:
    """The memory (B, H, Dk, Dv) after the first count[b] of the positions k, v (B, H, n, D)."""
    ago = count[:, None] - 1 - torch.arange(k.shape[2], device=k.device)  # (B, n)
    weight = torch.exp(ago[:, None] * log_decay[:, None]).masked_fill(ago[:, None] < 0, 0)  # (B, H, n)
    faded = memory * torch.exp(count[:, None] * log_decay)[..., None, None]
    return faded + (k * weight[..., None]).transpose(-1, -2) @ v.to(k.dtype)


class Chunks:
    """`length` positions in chunks of equal size, of at most `longest` positions, and the decays inside and between
    them. A single chunk is the parallel form.

    The chunks are computed together. Memory grows with the length; only `between` grows with its square, but stays
    small: 4 MB for 16,000 positions in chunks of 64 and 16 heads.
    """

    def __init__(self, length: int, longest: int | None, log_decay: Tensor, *, causal: bool) -> None:
        self.count = -(-length // (longest or length))
        self.size = size = -(-length // self.count)
        self.causal = causal
        index = torch.arange(size, device=log_decay.device)
        self.within = powers((index[:, None] - index).abs(), log_decay)[:, None]  # (H, 1, C, C)
        if causal:
            self.within = self.within.tril()
        # Each position's distance to the last one of the chunk before, and to the last one of its own.
        self.from_last = powers(index + 1, log_decay)[:, None, :, None]  # (H, 1, C, 1)
        self.to_last = powers(size - 1 - index, log_decay)[:, None, :, None]
        # From the last position of each chunk (column) to the last one before each chunk (row).
        chunk = torch.arange(self.count, device=log_decay.device)
        apart = (chunk[:, None] - chunk - 1).clamp(min=0)
        self.between = powers(size * apart, log_decay).tril(-1)  # (H, chunks, chunks)
        self.from_start = powers(size * chunk, log_decay)[..., None, None]  # (H, chunks, 1, 1)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, memory: Tensor | None = None) -> Tensor:
        """Outputs (B, H, n, Dv) of q, k (B, H, n, Dk) and v (B, H, n, Dv), after the positions in `memory`."""
        n = q.shape[2]
        q, k, v = self.cut(q), self.cut(k), self.cut(v.to(q.dtype))
        mixed = (q @ k.transpose(-1, -2)).mul_(self.within) @ v
        if self.count > 1 or memory is not None:
            mixed = mixed + (q * self.from_last) @ self.before(k, v, memory)
        if self.count > 1 and not self.causal:
            mixed = mixed + (q * self.from_last.flip(2)) @ self.after(k, v)
        return mixed.flatten(2, 3)[:, :, :n]

    def cut(self, x: Tensor) -> Tensor:
        """(B, H, n, D) -> (B, H, chunks, C, D), the last chunk filled with zeros, which add nothing to a memory."""
        if missing := self.count * self.size - x.shape[2]:  # padding by nothing would copy x
            x = F.pad(x, (0, 0, 0, missing))
        return x.unflatten(2, (self.count, self.size))

    def before(self, k: Tensor, v: Tensor, memory: Tensor | None) -> Tensor:
        """The memory (B, H, chunks, Dk, Dv) at the last position before each chunk."""
        if memory is not None and self.count == 1:
            return memory[:, :, None]
        before = self.gathered((k * self.to_last).transpose(-1, -2) @ v, self.between)
        return before if memory is None else before + self.from_start * memory[:, :, None]

    def after(self, k: Tensor, v: Tensor) -> Tensor:
        """The same of the positions behind each chunk, backwards: at the first position after it."""
        return self.gathered((k * self.to_last.flip(2)).transpose(-1, -2) @ v, self.between.transpose(-1, -2))

    @staticmethod
    def gathered(added: Tensor, decays: Tensor) -> Tensor:
        """What the chunks add, (B, H, chunks, Dk, Dv), summed for each chunk with decays (H, chunks, chunks)."""
        return (decays @ added.flatten(-2)).view_as(added)


class FullRetention:
    """Retention inside a right-padded batch of whole sequences (B, L)."""

    period: int | None = None

    def __init__(self, lengths: Tensor, length: int, heads: int, width: int, *, causal: bool, chunk: int | None):
        self.causal = causal
        log_decay = log_decays(heads, lengths.device)
        self.positions = torch.arange(length, device=lengths.device)[None]
        sums = decay_sums(self.positions + 1, log_decay)
        self.chunks = Chunks(length, chunk, log_decay, causal=causal)
        if not causal:
            self.real = padding_mask(lengths, length)
            after = (lengths[:, None] - self.positions).clamp(min=1)  # positions from this one to the row's end
            sums = sums + decay_sums(after, log_decay) - 1
        self.rotation = rotations(self.positions, sums, width)

    def retain(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k (B, H, L, Dk), v (B, H, L, Dv) of layer `index` -> (B, H, L, Dv)."""
        if not self.causal:  # otherwise no real position sees the padding, which stands behind it
            v = v * self.real[:, None, :, None]
        return self.chunks.mix(q, k, v)


class RetentionState(Memory):
    """A memory (layers, B, H, Dk, Dv) of fixed size, and the last positions of the last `extend`, for `truncate`."""

    def __init__(self, layers: int, heads: int, width: int, value_width: int, x: Tensor, chunk: int) -> None:
        shape = (layers, len(x), heads, width, value_width)
        self.memory = torch.zeros(shape, dtype=torch.float32, device=x.device)
        self.previous = self.memory  # before the positions that can be taken back
        self.position = torch.zeros(len(x), dtype=torch.long, device=x.device)  # (B,) seen so far
        self.count = torch.zeros_like(self.position)  # (B,) of those, can be taken back
        self.recent: list[tuple[Tensor, Tensor]] = []  # their k and v by layer; none for one position
        self.log_decay = log_decays(heads, x.device)
        self.width, self.chunk = width, chunk

    @property
    def bytes(self) -> int:
        kept = [self.memory, self.previous, self.position, self.count, *(part for kv in self.recent for part in kv)]
        return sum(part.nelement() * part.element_size() for part in kept)

    def begin(self, x: Tensor, lengths: Tensor | None) -> None:
        n = x.shape[1]
        self.previous, self.recent = self.memory, []
        self.single = n == 1 and lengths is None
        self.count = torch.full_like(self.position, n) if lengths is None else lengths.to(self.position)
        self.positions = self.position[:, None] + torch.arange(n, device=self.position.device)
        self.rotation = rotations(self.positions, decay_sums(self.positions + 1, self.log_decay), self.width)
        if self.single:  # the memories of all layers fade at once
            self.memory = self.memory * self.log_decay.exp()[:, None, None]
        else:
            self.memory = torch.empty_like(self.memory)
            self.chunks = Chunks(n, self.chunk, self.log_decay, causal=True)
        self.long = n > UNDOABLE
        if self.long:
            self.previous = self.previous.clone()  # goes on to the first position that can be taken back
            self.settled = (self.count - UNDOABLE).clamp(min=0)  # (B,) the positions before that one

    def retain(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k (B, H, n, Dk), v (B, H, n, Dv) of layer `index` -> (B, H, n, Dv)."""
        if self.single:  # the recurrent form
            return q @ self.memory[index].addcmul_(k.transpose(-1, -2), v)
        before = self.previous[index]
        self.memory[index] = remember(before, k, v, self.count, self.log_decay)
        mixed = self.chunks.mix(q, k, v, before)
        if self.long:
            self.previous[index] = remember(before, k, v, self.settled, self.log_decay)
            last = self.settled[:, None] + torch.arange(UNDOABLE, device=k.device)  # (B, UNDOABLE)
            k, v = (part.take_along_dim(last[:, None, :, None], 2) for part in (k, v))
        self.recent.append((k, v))
        return mixed

    def finish(self) -> RetentionState:
        self.position = self.position + self.count
        self.count = self.count.clamp(max=UNDOABLE)
        return self

    def select(self, rows: Tensor) -> RetentionState:
        new = object.__new__(RetentionState)
        new.log_decay, new.width, new.chunk = self.log_decay, self.width, self.chunk
        new.memory, new.previous = self.memory[:, rows], self.previous[:, rows]
        new.position, new.count = self.position[rows], self.count[rows]
        new.recent = [(k[rows], v[rows]) for k, v in self.recent]
        return new

    def truncate(self, n: int | Tensor) -> RetentionState:
        counts = torch.as_tensor(n, device=self.count.device).expand_as(self.count)
        wrong = (counts < 0) | (counts > self.count)
        if wrong.any():
            back, known = int(counts[wrong][0]), int(self.count[wrong][0])
            raise VocolabError(
                f"cannot go back {back} positions", f"a recurrent state knows its last {known}", "truncate less"
            )
        if counts.any():
            self.count, self.position = self.count - counts, self.position - counts
            again = [
                remember(before, k, v, self.count, self.log_decay)
                for before, (k, v) in zip(self.previous, self.recent, strict=False)
            ]
            gone = (self.count == 0)[:, None, None, None]  # of a single position: there or not
            self.memory = torch.stack(again) if again else torch.where(gone, self.previous, self.memory)
        return self
