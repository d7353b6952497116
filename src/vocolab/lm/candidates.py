"""Several responses to one text, of which the model's likeliest is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vocolab.lm.base import Condition, Response
from vocolab.lm.core import cross_entropy
from vocolab.lm.decode import decode
from vocolab.lm.layout import IGNORED, with_stop
from vocolab.lm.sampling import Sampling

if TYPE_CHECKING:
    from vocolab.lm.ar import FirstCodebook


SEED_STEP = 0x9E3779B1  # between the seeds of a row's candidates: users count their own seeds from 0


def likeliest(
    model: FirstCodebook,
    condition: Condition,
    sampling: Sampling,
    seeds: Tensor,
    on_step: Callable[[int], None] | None,
) -> Response:
    """Of `sampling.best_of` responses to each row, decoded together, the one whose frames and stop are likeliest on
    average (at temperature 1, before any filter). One that was cut comes after all that stopped by themselves.
    """
    rows, count = len(condition), sampling.best_of
    many = condition.select(torch.arange(rows, device=seeds.device).repeat_interleave(count))
    drawn = (seeds[:, None] + torch.arange(count, device=seeds.device) * SEED_STEP).flatten()
    found = decode(model, many, dataclasses.replace(sampling, best_of=1), drawn, on_step)
    score = mean_log_likelihood(model, many, found).masked_fill(~found.stopped, -torch.inf)
    # Where all were cut, the first is kept.
    chosen = torch.arange(rows, device=seeds.device) * count + score.unflatten(0, (rows, count)).argmax(dim=1)
    lengths = found.lengths[chosen]
    passes = None if found.passes is None else found.passes[chosen]
    codes = found.codes[chosen][..., : int(lengths.max())]
    return Response(codes, lengths, found.stopped[chosen], found.steps, passes)


def mean_log_likelihood(model: FirstCodebook, condition: Condition, response: Response) -> Tensor:
    """(B,) mean of ln p over the frames of each response (B, 1, L) and, where it stopped, its stop token."""
    logits = model.first_logits(condition, response.codes, response.lengths)  # (B, L + 1, V)
    targets = with_stop(response.codes[:, 0], response.lengths, model.stop)
    targets = targets.masked_fill((targets == model.stop) & ~response.stopped[:, None], IGNORED)
    _, surprise = cross_entropy(logits, targets)
    return -surprise.sum(dim=1) / (targets != IGNORED).sum(dim=1)
