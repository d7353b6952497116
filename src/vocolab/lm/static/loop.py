"""Decoding with static states: which session a batch gets, and when it is looked at whether all have stopped."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Hashable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocolab.lm.ar import FirstCodebook
from vocolab.lm.backbones.base import State
from vocolab.lm.base import Condition, Response
from vocolab.lm.decode import frames
from vocolab.lm.sampling import Sampling
from vocolab.lm.static.graphs import Capture, autocast_dtype, cuda_graph
from vocolab.lm.static.layers import step_model
from vocolab.lm.static.memory import Unsupported, kind, positions_held
from vocolab.lm.static.session import Session
from vocolab.rng import uniforms

CAPACITY = 512  # of the first session; doubled when it runs out, so that few graphs exist
CHECK = 8  # steps between two looks at whether all rows have stopped, for each of which the device is waited for
SMALLEST = 8  # rows; with fewer, a step is hardly shorter, and a session for them would have to be recorded first
KEPT = 6  # sessions that are kept for batches to come

log = logging.getLogger(__name__)
Module = TypeVar("Module", bound=nn.Module)


def prepare(model: Module, decoder: StaticFrames | None = None) -> Module:
    """Let the part of `model` that predicts the first codebook decode with static states where it lies on a GPU; on
    other devices it decodes as before. Same codes for the same seeds, but for the rounding of floating-point numbers.

    `model` itself is changed, and returned.
    """
    for part in model.modules():
        if isinstance(part, FirstCodebook):
            part.decoder = decoder or StaticFrames()
    return model


class StaticFrames:
    """As `decode.frames`, but a response comes every `check` steps, and its tensors stay as they are.

    Rows that have ended make room: once half of those in a session have, the others go on in one of half as many rows,
    but not of fewer than `smallest`. `capture`: what records a step; None for a CUDA graph on a GPU, and the plain way
    elsewhere.
    """

    def __init__(
        self, capacity: int = CAPACITY, check: int = CHECK, smallest: int = SMALLEST, capture: Capture | None = None
    ) -> None:
        self.capacity, self.check, self.smallest, self.capture = capacity, check, smallest, capture
        self.failed = ""  # why the plain way was gone
        self._weights: Hashable = None  # what the sessions were made of
        self._step_models: dict[torch.dtype | None, FirstCodebook] = {}
        self._free: list[Session] = []

    def __getstate__(self) -> dict[str, Any]:
        kept = "capacity", "check", "smallest", "capture"  # a copy records its own
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(
        self, model: FirstCodebook, condition: Condition, sampling: Sampling, seeds: Tensor
    ) -> Iterator[Response]:
        capture = self.capture or (cuda_graph if condition.text.is_cuda else None)
        if capture is None or sampling.draft or self.failed:
            yield from frames(model, condition, sampling, seeds)
            return
        logits, state = model.begin(condition, sampling.max_ar_context)
        capacity = self._at_least(positions_held(state) + self.check)
        try:
            session = self._session(model, state, len(condition), capacity, sampling, capture)
        except (Unsupported, RuntimeError) as error:
            yield from self._plainly(error, model, condition, sampling, seeds)
            return
        numbers = [uniforms(seeds, sampling.max_ar_steps, stream=stream) for stream in (0, 1)]
        session.load(logits, state, *numbers)
        live: Tensor | None = None  # (rows of the session,) which row of the batch each is; None: all of them, in order
        response: Response | None = None
        done = 0
        try:
            while True:
                count = min(self.check, sampling.max_ar_steps - done, session.room - done)
                for _ in range(count):
                    session.run_step()
                done += count
                response = together(response, session.response(), live)
                yield response
                going = int((~response.stopped).sum())
                if done == sampling.max_ar_steps or going == 0:
                    return
                rows, capacity = self._rows(session.rows, going), session.capacity * (2 if done == session.room else 1)
                if (rows, capacity) != (session.rows, session.capacity):
                    try:
                        other = self._session(model, state, rows, capacity, sampling, capture)
                    except RuntimeError as error:
                        yield from self._plainly(error, model, condition, sampling, seeds, done)
                        return
                    kept = session.going_first(rows)
                    live = kept if live is None else live[kept]
                    other.go_on(session, kept, *(drawn[live] for drawn in numbers))
                    self._give_back(session)
                    session = other
        finally:
            self._give_back(session)

    def _plainly(
        self,
        error: Exception,
        model: FirstCodebook,
        condition: Condition,
        sampling: Sampling,
        seeds: Tensor,
        done: int = 0,
    ) -> Iterator[Response]:
        """From now on as without a static state; here from step `done` on."""
        self.failed = str(error).strip().partition("\n")[0]
        log.warning("decoding without a static state, which is slower on a GPU: %s", self.failed)
        for response in frames(model, condition, sampling, seeds):
            if response.steps > done:
                yield response

    def _rows(self, rows: int, going: int) -> int:
        """Of a session for the rows that go on, where one of `rows` holds them now."""
        while rows > self.smallest and going <= -(-rows // 2):
            rows = -(-rows // 2)
        return rows

    def _at_least(self, needed: int) -> int:
        capacity = self.capacity
        while capacity < needed:
            capacity *= 2
        return capacity

    def _session(
        self, model: FirstCodebook, state: State, rows: int, capacity: int, sampling: Sampling, capture: Capture
    ) -> Session:
        """A session that nobody uses, which is given back afterwards."""
        self._forget_old_weights(model)
        dtype = autocast_dtype(model.sep.device)
        key = (rows, capacity, dataclasses.replace(sampling, max_ar_steps=1), kind(state), dtype, capture)
        for place, session in enumerate(self._free):
            if session.key == key:
                return self._free.pop(place)
        if dtype not in self._step_models:
            self._step_models[dtype] = step_model(model, dtype)
        return Session(key, self._step_models[dtype], state, rows, capacity, sampling, capture)

    def _give_back(self, session: Session) -> None:
        if session.model in self._step_models.values():  # the weights are still those it was made of
            self._free = [*self._free, session][-KEPT:]

    def _forget_old_weights(self, model: FirstCodebook) -> None:
        weights = tuple((p.data_ptr(), p.dtype, 0 if p.is_inference() else p._version) for p in model.parameters())
        if weights != self._weights:
            self._weights, self._step_models, self._free = weights, {}, []


def together(before: Response | None, part: Response, live: Tensor | None) -> Response:
    """The response of all rows: as it was before, but for the rows `live` (R,), of which `part` is the response."""
    if before is None or live is None:
        return part
    codes = F.pad(before.codes, (0, part.codes.shape[2] - before.codes.shape[2]))
    made = dataclasses.replace(before, codes=codes, lengths=before.lengths.clone(), stopped=before.stopped.clone())
    assert before.passes is not None and part.passes is not None
    made.steps, made.passes = part.steps, before.passes.clone()
    for name in ("codes", "lengths", "stopped", "passes"):
        getattr(made, name)[live] = getattr(part, name)
    return made
