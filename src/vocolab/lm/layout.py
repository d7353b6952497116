"""The sequence `text · sep · [language · sep] · prompt · sep · response`, for rows of unequal lengths at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vocolab.lm.backbones.base import padding_mask

IGNORED = -100  # the target of a position that has none; cross_entropy's own default


@dataclass
class Packed:
    """Segments laid end to end in each row."""

    x: Tensor  # (B, L, ...) right-padded; what stands beyond a row's length means nothing
    lengths: Tensor  # (B,)
    starts: list[Tensor]  # for each segment, (B,): where it begins


def pack(segments: Sequence[Tensor], lengths: Sequence[Tensor], longest: int | None = None) -> Packed:
    """Lay right-padded segments (B, n_i, ...) with lengths (B,) end to end, without the gaps of their padding.

    `longest`: the length of the longest row; where it is not given, the device is waited for.
    """
    real = torch.cat([padding_mask(n, s.shape[1]) for s, n in zip(segments, lengths, strict=True)], dim=1)
    total = real.sum(dim=1)
    # A stable sort of "is padding" moves the real positions to the front and keeps their order.
    longest = int(total.max()) if longest is None else longest
    order = torch.argsort((~real).byte(), dim=1, stable=True)[:, :longest]  # (B, L)
    x = torch.cat(list(segments), dim=1)
    index = order.reshape(*order.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
    ends = torch.stack(list(lengths)).cumsum(dim=0)
    return Packed(x.gather(1, index), total, [end - n for end, n in zip(ends, lengths, strict=True)])


def at(x: Tensor, start: Tensor, count: int) -> Tensor:
    """x[b, start[b] : start[b] + count] as (B, count, ...); positions beyond the end repeat the last."""
    positions = (start[:, None] + torch.arange(count, device=x.device)).clamp(max=x.shape[1] - 1)
    return x.gather(1, positions.reshape(*positions.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:]))


def with_stop(codes: Tensor, lengths: Tensor, stop: int) -> Tensor:
    """Codes (B, L) with the stop token behind each row's last: (B, L + 1), padded with `IGNORED`."""
    position = torch.arange(codes.shape[1] + 1, device=codes.device)
    ended = torch.cat([codes, codes.new_zeros(len(codes), 1)], dim=1)
    ended = ended.masked_fill(position == lengths[:, None], stop)
    return ended.masked_fill(position > lengths[:, None], IGNORED)


def text_targets(text: Tensor, lengths: Tensor, language: Tensor | None) -> Tensor:
    """What the positions of the text, and of the separator behind it, are to predict, (B, N + 1): the next symbol, and
    at the separator the language (B,), where the sequence holds one; `IGNORED` before a separator.

    text (B, N), lengths (B,).
    """
    position = torch.arange(text.shape[1] + 1, device=text.device)
    targets = F.pad(text[:, 1:], (0, 2)).masked_fill(position >= lengths[:, None] - 1, IGNORED)
    return targets if language is None else torch.where(position == lengths[:, None], language[:, None], targets)
