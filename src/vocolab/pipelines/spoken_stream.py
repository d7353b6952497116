"""Speech of texts while their codes are still being written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vocolab import audio
from vocolab.audio.joining import FADE, faded
from vocolab.blocks import Tail
from vocolab.codecs.base import Codec
from vocolab.codecs.streaming import Decoding
from vocolab.errors import UsageError
from vocolab.lm import Condition, LanguageModel, Response, Sampling
from vocolab.pipelines.passages import Delivery, Passage
from vocolab.pipelines.stream import frame_count
from vocolab.precision import full_precision
from vocolab.text.pieces import pause_after

if TYPE_CHECKING:
    from vocolab.pipelines.tts import TTS, Prompt

BLOCK, LOOKAHEAD = 0.4, 0.4  # seconds


@dataclass(frozen=True)
class Windows:
    """What is seen of the first codebook when the others of a block are predicted, in frames."""

    block: int  # decided together
    lookahead: int | None  # of the first codebook behind the block; None: all, so that nothing is said before the end
    context: int | None  # decided frames before the block; None: all


@dataclass
class Chunk:
    """What has been decided of a text since its last chunk."""

    number: int  # of the text
    wav: Tensor  # (T,) on the CPU; the codec may lag behind the codes
    codes: Tensor  # (k, n) on the CPU
    last: bool
    stopped: bool  # of the last chunk: False where the text was cut at `max_ar_steps`
    passes: int = 0  # of the last chunk: those of the backbone for the first codebook of the text


# Ways of choosing frames that look at the whole response, and their values that do not.
WHOLE = {"beam_width": 0, "best_of": 1}


def check(sampling: Sampling) -> None:
    """Raise `UsageError` for a way of sampling that decides no frame before the last."""
    for name, flag in (("beam_width", "--beam-width"), ("best_of", "--best-of")):
        if getattr(sampling, name) > 1:
            what = f"{flag} is {getattr(sampling, name)}, which chooses among whole responses"
            raise UsageError(what, "stream", "leave it out, or do not stream")


def windows(block: float, lookahead: float | None, context: float | None, frame_rate: float) -> Windows:
    """Seconds as frames. Raises `UsageError` for those that will not do."""
    return Windows(
        frame_count("block", block, frame_rate, 1),
        None if lookahead is None else frame_count("lookahead", lookahead, frame_rate, 0),
        None if context is None else frame_count("context", context, frame_rate, 0),
    )


def say(
    tts: TTS,
    passage: Passage,
    prompt: Prompt,
    sampling: Sampling,
    language: str | None = None,
    seed: int = 0,
    amp: bool = False,
    block: float = BLOCK,
    lookahead: float | None = LOOKAHEAD,
    context: float | None = None,
    pause: float = 1.0,
) -> Iterator[Chunk]:
    """The chunks of a text of any length, piece by piece; the number of a chunk is that of its piece.

    Other than in `passages.say`, a piece of several keeps the silence with which the model begins and ends it, is only
    faded at its ends, and is said once: what has been heard cannot be taken back. `pause`: times the usual pauses.
    """
    check(sampling)
    windows(block, lookahead, context, tts.codec.frame_rate)
    delivery = Delivery(pause=pause)
    fade = round(FADE * tts.sample_rate) if len(passage.pieces) > 1 else 0

    def pieces() -> Iterator[Chunk]:
        for number, (piece, ids) in enumerate(zip(passage.pieces, passage.ids, strict=True)):
            rising = fade  # of the piece's first sound
            for chunk in tts.chunks([ids], prompt, sampling, language, seed, amp, block, lookahead, context):
                wav = faded(chunk.wav, rising, fade if chunk.last else 0)
                rising = rising if not len(wav) else 0
                if chunk.last and number < len(passage.pieces) - 1:
                    wav = audio.followed(wav, tts.sample_rate, pause_after(piece) * delivery.pause)
                yield dataclasses.replace(chunk, number=number, wav=wav)

    return pieces()


class SpokenStream:
    """Texts as they are spoken, decoded together. `TTS.chunks` makes it.

    The model writes the first codebook frame by frame. Whenever a block and its look-ahead are there, the block's other
    codebooks are predicted in a window of the response: the frames before it that are decided already, the block, and
    the look-ahead, whose own other codebooks are predicted too, as a guess that is not kept. When the model has
    stopped, all that is left is the last block. What has been decided goes to the codec, which speaks what no later
    frame can change.

    So, against the same text spoken at once:
    - The first codebook is the same.
    - The others are the same where one window holds the whole response; elsewhere the model sees less of it.
    - The speech is what the codec makes of all these codes at once, to rounding.
    """

    def __init__(
        self,
        lm: LanguageModel,
        codec: Codec,
        condition: Condition,
        sampling: Sampling,
        seeds: Tensor,
        windows: Windows,
        computing: Callable[[], AbstractContextManager[object]],
    ):
        """`computing`: what the model computes in, such as autocast."""
        check(sampling)
        lm.check(condition)
        lm.check_context(sampling.max_ar_context)
        self.lm, self.codec, self.condition, self.sampling, self.seeds = lm, codec, condition, sampling, seeds
        self.windows, self.computing = windows, computing

    @torch.inference_mode()
    def __iter__(self) -> Iterator[Chunk]:
        """The chunks of each text in order, those of different texts as they get ready."""
        rows = [_Row(number, self.codec.decoding(), Tail()) for number in range(len(self.condition))]
        steps = self.lm.first_frames(self.condition, self.sampling, self.seeds)
        response = None
        while True:
            with self.computing():
                following = next(steps, None)
            response = following or response
            assert response is not None  # there is a frame at least
            yield from self._ready(rows, response, ended=following is None)
            if following is None:
                return

    def _ready(self, rows: list[_Row], response: Response, ended: bool) -> Iterator[Chunk]:
        """The chunks that the frames of the response so far allow. `ended`: it gets no more."""
        lengths, stopped = response.lengths.tolist(), response.stopped.tolist()  # waits for the device
        while True:
            parts = [
                part
                for row in rows
                if (part := self._part(row, lengths[row.number], ended or stopped[row.number])) is not None
            ]
            if not parts:
                return
            first = min(part.row.first for part in parts)  # windows that begin together are computed together
            for part, codes in self._decided([part for part in parts if part.row.first == first], response):
                yield self._chunk(part, codes, response)

    def _part(self, row: _Row, length: int, ended: bool) -> _Part | None:
        """What can be decided of a row that has `length` frames; None where it must wait or is done."""
        block, lookahead = self.windows.block, self.windows.lookahead
        if row.done:
            return None
        if lookahead is not None and length >= row.first + block + lookahead:
            return _Part(row, row.first + block, row.first + block + lookahead, last=False)
        return _Part(row, length, length, last=True) if ended else None

    def _decided(self, parts: list[_Part], response: Response) -> Iterator[tuple[_Part, Tensor]]:
        """The codes (k, n) that are decided of each part; all their rows have decided equally many frames so far."""
        first = parts[0].row.first
        start = 0 if self.windows.context is None else max(0, first - self.windows.context)
        end = max(part.end for part in parts)
        if end == first:  # the model has stopped behind a block without look-ahead
            for part in parts:
                yield part, part.row.said.read(first, first).t()
            return
        rows = torch.tensor([part.row.number for part in parts], device=response.codes.device)
        lengths = torch.tensor([part.end - start for part in parts], device=rows.device)
        window = Response(response.codes[rows, :, start:end], lengths, response.stopped[rows])
        said = None if first == start else torch.stack([part.row.said.read(start, first).t() for part in parts])
        with self.computing():
            found = self.lm.generate_rest(
                self.condition.select(rows), self.sampling, window, self.seeds[rows], said, start
            )
        for part, codes in zip(parts, found.codes, strict=True):
            yield part, codes[:, first - start : part.decided - start]

    def _chunk(self, part: _Part, codes: Tensor, response: Response) -> Chunk:
        """Give the codec the codes of a part, and say what it makes of them."""
        row = part.row
        with full_precision():
            pieces = [row.decoding.feed(codes)] if codes.shape[1] else []
            if part.last:
                pieces.append(row.decoding.end())
        row.said.append(codes.t())
        row.first, row.done = part.decided, part.last
        if self.windows.context is not None:
            row.said.forget(max(0, row.first - self.windows.context))
        chunk = Chunk(row.number, torch.cat([torch.zeros(0), *pieces]).float(), codes.cpu(), part.last, False)
        if part.last:
            chunk.stopped = bool(response.stopped[row.number])
            chunk.passes = 0 if response.passes is None else int(response.passes[row.number])
        return chunk


@dataclass
class _Row:
    """A text, and what has been decided of it."""

    number: int
    decoding: Decoding
    said: Tail  # frames (n, k) with all their codebooks
    first: int = 0  # frame to be decided next
    done: bool = False


@dataclass
class _Part:
    """Frames of a row that are decided together: from its `first` to `decided`, seeing those up to `end`."""

    row: _Row
    decided: int
    end: int
    last: bool
