"""A step of decoding as a function of tensors: sample a token, then compute the logits of the next one."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from vocolab.lm.ar import FirstCodebook
from vocolab.lm.backbones.base import State
from vocolab.lm.base import Response
from vocolab.lm.sampling import Sampling, first_mu, sample
from vocolab.lm.static.graphs import Capture
from vocolab.lm.static.memory import Part, positions_held, static_memory


class Session:
    """Rows that are decoded together, in tensors that stay where they are, and their recorded step.

    A session is made once for a number of rows, a capacity and a sampling, and then used for one batch after another:
    `load` begins one, `go_on` takes one over. It is used by one batch at a time.
    """

    def __init__(
        self,
        key: Hashable,
        model: FirstCodebook,
        state: State,
        rows: int,
        capacity: int,
        sampling: Sampling,
        capture: Capture,
    ) -> None:
        """
        Args:
            key: what it is found again by.
            model: of `layers.step_model`.
            state: one of the kind to be loaded; it may have more rows.
            capacity: frames; for attention without a window, those of the prefix too.
        """
        device = model.sep.device
        self.key, self.model, self.sampling, self.rows, self.capacity = key, model, sampling, rows, capacity
        with torch.inference_mode(False), torch.no_grad():  # tensors made in inference mode cannot be written outside
            self.memory = static_memory(state, rows, capacity)
            self.logits = torch.zeros(rows, model.size + 1, dtype=torch.float32, device=device)
            self.uniform = torch.zeros(rows, capacity, dtype=torch.float64, device=device)
            self.second = torch.zeros_like(self.uniform)
            self.codes = torch.zeros(rows, capacity, dtype=torch.long, device=device)
            self.count = torch.zeros(1, dtype=torch.long, device=device)  # tokens drawn
            self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
            self.stopped = torch.zeros(rows, dtype=torch.bool, device=device)
            self.place = torch.arange(capacity, device=device)
            self.mu = first_mu(sampling, rows, device)
        self.room = capacity
        self.run_step = capture(self.step, device)

    def tensors(self) -> list[Part]:
        """What changes while decoding."""
        own: list[Part] = [(self.logits, 0), (self.codes, 0), (self.count, None), (self.lengths, 0), (self.stopped, 0)]
        return own + ([] if self.mu is None else [(self.mu, 0)]) + self.memory.tensors()

    def load(self, logits: Tensor, state: State, uniform: Tensor, second: Tensor) -> None:
        """Begin with the logits (B, V) of the first frame and the state after the prefix; uniform, second (B, n): the
        random numbers of the frames.
        """
        self.memory.load(state)
        self.room = self.capacity - positions_held(state)
        self.logits.copy_(logits)
        self.set_numbers(uniform, second)
        for tensor in (self.codes, self.count, self.lengths, self.stopped):
            tensor.zero_()
        if self.mu is not None:
            self.mu.fill_(2 * self.sampling.mirostat_tau)

    def set_numbers(self, uniform: Tensor, second: Tensor) -> None:
        count = min(self.capacity, uniform.shape[1])
        self.uniform[:, :count].copy_(uniform[:, :count])
        self.second[:, :count].copy_(second[:, :count])

    def going_first(self, count: int) -> Tensor:
        """(count,) of the rows, those that have not stopped before the others."""
        return self.stopped.byte().argsort(stable=True)[:count]

    def go_on(self, other: Session, rows: Tensor, uniform: Tensor, second: Tensor) -> None:
        """Go on where `other`, a session of no more capacity, has arrived, with `rows` (B,) of its rows; uniform and
        second (B, n): the random numbers of these.
        """
        for (tensor, _), (before, where) in zip(self.tensors(), other.tensors(), strict=True):
            kept = before if where is None else before.index_select(where, rows)
            tensor.zero_()
            tensor[tuple(slice(0, size) for size in kept.shape)].copy_(kept)
        self.set_numbers(uniform, second)
        self.room = other.room + self.capacity - other.capacity

    def step(self) -> None:
        """One token for each row; for rows that have stopped it is 0."""
        uniform, second = (numbers.index_select(1, self.count)[:, 0] for numbers in (self.uniform, self.second))
        tokens, mu = sample(self.logits, self.sampling, uniform, second, self._previous(), self.model.stop, self.mu)
        if self.mu is not None and mu is not None:
            self.mu.copy_(mu)
        self.stopped |= tokens == self.model.stop
        tokens = tokens.clamp(max=self.model.size - 1)
        self.codes.index_copy_(1, self.count, tokens.masked_fill(self.stopped, 0)[:, None])
        self.lengths += ~self.stopped
        self.count += 1
        logits, _ = self.model.step(tokens, self.memory)
        self.logits.copy_(logits)

    def _previous(self) -> Tensor:
        """The tokens so far, (B, n), behind as many -1 as there is capacity left; none where the sampling does not look
        at them.
        """
        s = self.sampling
        if s.repetition_penalty == 1.0 and s.length_penalty == 0.0 and s.repetition_window == 0:
            return self.codes[:, :0]
        place = self.place - (self.capacity - self.count)
        return self.codes.index_select(1, place.clamp(min=0)).masked_fill(place < 0, -1)

    def response(self) -> Response:
        """All frames so far, in tensors of their own. Waits for the device."""
        passes = self.lengths + self.stopped
        count = int(passes.max())
        codes = self.codes[:, None, :count].clone()
        return Response(codes, self.lengths.clone(), self.stopped.clone(), count, passes)
