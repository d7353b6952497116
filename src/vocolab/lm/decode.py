"""Frame by frame generation of the first codebook, in batches, with the backbone's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vocolab.lm.base import Condition, Response
from vocolab.lm.drafting import drafted
from vocolab.lm.sampling import Sampling, beam_step, filtered, first_mu, first_scores, sample, tempered
from vocolab.rng import uniforms

if TYPE_CHECKING:
    from vocolab.lm.ar import FirstCodebook

Decoder = Callable[["FirstCodebook", Condition, Sampling, Tensor], Iterator[Response]]


def decode(
    model: FirstCodebook,
    condition: Condition,
    sampling: Sampling,
    seeds: Tensor,
    on_step: Callable[[int], None] | None,
) -> Response:
    """The first codebook (B, 1, L), each row until it stops or `max_ar_steps` cut it; seeds (B,)."""
    if sampling.beam_width > 1:
        return _beams(model, condition, sampling, on_step)
    steps = 0
    for response in model.first_frames(condition, sampling, seeds):
        if on_step is not None and response.steps > steps:
            on_step(response.steps)
        steps = response.steps
    response.codes = response.codes[..., : int(response.lengths.max())]
    return response


def frames(model: FirstCodebook, condition: Condition, sampling: Sampling, seeds: Tensor) -> Iterator[Response]:
    """The first codebook after each step of the model: all of it so far, (B, 1, L). Beams cannot do this, for a later
    frame may change the earlier ones.

    Row b has lengths[b] frames so far; those with `stopped` get no more. The tensors are those that the next step goes
    on filling: copy what is to be kept.
    """
    if sampling.draft:
        yield from drafted(model, condition, sampling, seeds)
        return
    rows, device = len(condition), condition.text.device
    uniform = uniforms(seeds, sampling.max_ar_steps)
    second = uniforms(seeds, sampling.max_ar_steps, stream=1)
    codes = torch.zeros(rows, sampling.max_ar_steps, dtype=torch.long, device=device)
    lengths = torch.zeros(rows, dtype=torch.long, device=device)
    stopped = torch.zeros(rows, dtype=torch.bool, device=device)
    live = torch.arange(rows, device=device)  # the rows in `logits` and `state`; some may have stopped
    logits, state = model.begin(condition, sampling.max_ar_context)
    mu, n = first_mu(sampling, rows, device), 0
    while True:
        tokens, mu = sample(logits, sampling, uniform[live, n], second[live, n], codes[live, :n], model.stop, mu)
        stopped[live] |= tokens == model.stop
        tokens = tokens.clamp(max=model.size - 1)
        codes[live, n] = tokens.masked_fill(stopped[live], 0)
        lengths += ~stopped
        n += 1
        yield Response(codes[:, None, :n], lengths, stopped, n, lengths + stopped)
        going = ~stopped[live]
        count = int(going.sum())
        if n == sampling.max_ar_steps or count == 0:
            return
        # Copying the state costs about as much as a step: worth it once a quarter of its rows is done.
        if 4 * count <= 3 * len(live):
            kept = going.nonzero()[:, 0]
            live, tokens, state = live[kept], tokens[kept], state.select(kept)
            mu = mu if mu is None else mu[kept]
        logits, state = model.step(tokens, state)


def _beams(
    model: FirstCodebook, condition: Condition, sampling: Sampling, on_step: Callable[[int], None] | None
) -> Response:
    """Beam search: a row's answer is the likeliest of the sequences that its beams hold at the end."""
    rows, width, device = len(condition), sampling.beam_width, condition.text.device
    codes = torch.zeros(rows, width, 0, dtype=torch.long, device=device)
    scores = first_scores(rows, width, device)
    ended = torch.zeros(rows, width, dtype=torch.bool, device=device)
    logits, state = model.begin(condition, sampling.max_ar_context)
    logits = logits.repeat_interleave(width, dim=0)
    state = state.select(torch.arange(rows, device=device).repeat_interleave(width))
    base = torch.arange(rows, device=device)[:, None] * width
    n = 0
    while True:
        logits = filtered(logits, sampling, codes.flatten(0, 1), model.stop)
        if sampling.ar_temp > 0:
            logits = tempered(logits, sampling.ar_temp, sampling.min_ar_temp)
        beams = beam_step(logits.unflatten(0, (rows, width)), scores, ended, model.stop)
        scores, ended = beams.scores, beams.ended
        codes = torch.cat(
            [codes.gather(1, beams.parents[:, :, None].expand_as(codes)), beams.tokens[:, :, None]], dim=2
        )
        n += 1
        if on_step is not None:
            on_step(n)
        if n == sampling.max_ar_steps or bool(ended[:, 0].all()):
            break
        tokens = beams.tokens.clamp(max=model.size - 1).flatten()
        logits, state = model.step(tokens, state.select((base + beams.parents).flatten()))
    best = codes[:, 0]  # (B, L), stop tokens behind the end
    lengths = (best != model.stop).sum(dim=1)
    best = best.masked_fill(best == model.stop, 0)[:, : int(lengths.max())]
    return Response(best[:, None], lengths, ended[:, 0], n, torch.full_like(lengths, n))
