"""Decoding with a draft: heads guess some frames ahead, and one pass of the backbone tells which of them are right.

A guess is right where it is the token that plain decoding draws there. That token is a function of the logits, of the
tokens before and of the frame's own uniform number (`sampling.sample`), and the pass gives the logits. So the codes are
those of plain decoding, whatever the sampling and however good the guesses (but for the rounding of floating-point
numbers in passes of another length). The guesses are drawn with the same uniform numbers: a head that had the model's
own distribution would always be right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vocolab.errors import VocolabError
from vocolab.lm.base import Condition, Response
from vocolab.lm.sampling import Sampling, first_mu, sample
from vocolab.rng import uniforms

if TYPE_CHECKING:
    from vocolab.lm.ar import FirstCodebook
    from vocolab.lm.medusa import MedusaHeads


@dataclass
class Draws:
    """The frames of all rows so far, and what chooses the next ones. Rows differ in how many they have."""

    sampling: Sampling
    stop: int
    uniform: Tensor  # (B, max_ar_steps)
    second: Tensor  # (B, max_ar_steps)
    codes: Tensor  # (B, max_ar_steps) tokens of each row, and zeros
    count: Tensor  # (B,) tokens drawn, the stop token included
    stopped: Tensor  # (B,) bool
    mu: Tensor | None  # (B,) of mirostat

    @property
    def ended(self) -> Tensor:
        """(B,) bool: the row has stopped, or is as long as it may be."""
        return self.stopped | (self.count == self.sampling.max_ar_steps)

    @property
    def lengths(self) -> Tensor:
        """(B,) frames."""
        return self.count - self.stopped.long()

    def response(self, passes: Tensor) -> Response:
        longest = int(self.count.max())
        return Response(self.codes[:, None, :longest], self.lengths, self.stopped, longest, passes)

    def tokens(self, rows: Tensor, logits: Tensor, at: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is drawn for `rows` (R,) from logits (R, V) at the frames `at` (R,), with `ahead` (R, a) as the last of
        the tokens before; and the mirostat state then.
        """
        last = self.uniform.shape[1] - 1
        uniform, second = (numbers[rows, at.clamp(max=last)] for numbers in (self.uniform, self.second))
        mu = None if self.mu is None else self.mu[rows]
        before = self._before(rows, at - ahead.shape[1]) if self._looks_back else ahead[:, :0]
        previous = torch.cat([before, ahead], 1)
        return sample(logits, self.sampling, uniform, second, previous, self.stop, mu)

    @property
    def _looks_back(self) -> bool:
        s = self.sampling
        return s.repetition_penalty != 1.0 or s.length_penalty != 0.0 or s.repetition_window > 0

    def _before(self, rows: Tensor, count: Tensor) -> Tensor:
        """(R, n) the first count[r] tokens of each row, right-aligned behind -1."""
        longest = int(count.max())
        place = torch.arange(longest, device=count.device) - (longest - count[:, None])
        return self.codes[rows].gather(1, place.clamp(min=0)).masked_fill(place < 0, -1)


def drafted(model: FirstCodebook, condition: Condition, sampling: Sampling, seeds: Tensor) -> Iterator[Response]:
    """As `decode.frames`, a pass of the backbone after the other; each adds one frame to a row, or more."""
    if model.drafts is None:
        remedy = "give the file of heads trained for it as --draft FILE (recipes/valle_medusa.yaml), or leave it out"
        raise VocolabError("the model has no Medusa heads", "--draft medusa", remedy)
    draws = _begin(model, condition, sampling, seeds)
    live = torch.arange(len(condition), device=seeds.device)  # the rows in `state`
    done, guesses = model.first_pass(condition, sampling.max_ar_context), live.new_empty(len(live), 0)
    passes = torch.zeros_like(draws.count)
    while True:
        passes[live] += 1
        before = draws.count[live]
        last = _accept(draws, live, done.logits, guesses)
        yield draws.response(passes)
        going = (~draws.ended[live]).nonzero()[:, 0]
        if len(going) == 0:
            return
        kept = (draws.count[live] - before)[going]  # how many positions of the pass were right
        state, hidden = done.state, done.hidden
        if len(going) < len(live):
            live, last, hidden, state = live[going], last[going], hidden[going], state.select(going)
        if hidden.shape[1] > 1 and guesses.shape[1]:
            state = state.truncate(hidden.shape[1] - kept)
        x = hidden[torch.arange(len(live), device=live.device), kept - 1]
        guesses = _guess(model, model.drafts, draws, live, x, last)
        done = model.next_pass(torch.cat([last[:, None], guesses], 1), state)


def _begin(model: FirstCodebook, condition: Condition, sampling: Sampling, seeds: Tensor) -> Draws:
    rows, device = len(condition), seeds.device
    none = torch.zeros(rows, dtype=torch.long, device=device)
    return Draws(
        sampling,
        model.stop,
        uniforms(seeds, sampling.max_ar_steps),
        uniforms(seeds, sampling.max_ar_steps, stream=1),
        none[:, None].repeat(1, sampling.max_ar_steps),
        none,
        none.bool(),
        first_mu(sampling, rows, device),
    )


def _accept(draws: Draws, live: Tensor, logits: Tensor, guesses: Tensor) -> Tensor:
    """Draw tokens for the rows `live` (R,) from logits (R, 1 + k, V), one after the other, as long as they are those
    that were guessed, (R, k). Returns the last token of each row, (R,).
    """
    last = torch.zeros_like(live)
    rows = torch.arange(len(live), device=live.device)  # those that go on, in `live`
    for position in range(logits.shape[1]):
        at = draws.count[live[rows]]
        tokens, mu = draws.tokens(live[rows], logits[rows, position], at, live.new_empty(len(rows), 0))
        if draws.mu is not None and mu is not None:
            draws.mu[live[rows]] = mu
        ends = tokens == draws.stop
        draws.stopped[live[rows]] = ends
        tokens = tokens.masked_fill(ends, 0)
        last[rows] = tokens
        draws.codes[live[rows], at] = tokens
        draws.count[live[rows]] += 1
        if position == guesses.shape[1]:
            break
        rows = rows[(tokens == guesses[rows, position]) & ~draws.ended[live[rows]]]
        if len(rows) == 0:
            break
    return last


def _guess(model: FirstCodebook, heads: MedusaHeads, draws: Draws, live: Tensor, x: Tensor, last: Tensor) -> Tensor:
    """Guesses (R, k) of the frames after `last` (R,), the newest of the rows `live`, from the hidden states x (R, D)
    that predicted it.
    """
    guesses, token = live.new_empty(len(live), 0), last
    for number in range(heads.count):
        x, logits = heads.guess(number, x, model.first_table(token))
        token, _ = draws.tokens(live, logits.float(), draws.count[live] + number, guesses)
        token = token.clamp(max=model.size - 1)  # a response that may stop here is tested for that by the pass
        guesses = torch.cat([guesses, token[:, None]], 1)
    return guesses
