"""Voice conversion of speech as it comes in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import soxr
import torch
from torch import Tensor

from vocolab import audio
from vocolab.audio import Waveform
from vocolab.blocks import Blocks, Tail
from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError
from vocolab.matching import average
from vocolab.pipelines.voice import Voice
from vocolab.precision import full_precision

if TYPE_CHECKING:
    from vocolab.pipelines.knnvc import KNNVC

LEVEL_SECONDS = 10.0  # how much of the voice is spoken to learn how loud it is


class Stream:
    """One signal, converted while it comes in. `KNNVC.stream` makes it and says what the settings mean.

    What comes out depends on the signal alone, not on how it was cut into chunks:
    - Frames are encoded in blocks, each in a window of the signal: the block, the context before it and the look-ahead
      after it. At the signal's ends the window is what there is of it.
    - Each frame is matched for itself.
    - Frames are vocoded with all the frames beside them that the vocoder sees, so as if at once.

    Memory does not grow with the signal.
    """

    def __init__(
        self,
        vc: KNNVC,
        voice: Voice | Tensor,
        encoder: Encoder,
        topk: int,
        context: float,
        lookahead: float,
        block: float,
        loudness: float | None,
        sample_rate: int | None,
    ):
        self.vc, self.topk = vc, topk
        self.voice = _as_voice(voice).to(vc.device)
        layers = None if vc.matching_layer is None else [vc.matching_layer]
        encoder.load(layers).to(vc.device)
        self.encoded = EncodedBlocks(encoder, layers, context, lookahead, block)
        self.spoken = Blocks(lambda feats: vc.vocode(feats[None])[0], vc.vocoder.context, vc.vocoder.hop)
        self._try(encoder, layers)
        self.gain = 0.0 if loudness is None else self._gain(loudness)  # dB
        rate = encoder.sample_rate
        self.resampler = None if sample_rate in (None, rate) else _resampler(sample_rate, rate)
        self.ended = False

    @full_precision()
    @torch.inference_mode()
    def _try(self, encoder: Encoder, layers: list[int] | None) -> None:
        """Convert a frame of silence: what does not fit together is refused before anything is fed."""
        silence = torch.zeros(1, encoder.min_samples, device=encoder.placement.device)
        feats = encoder.layers(silence, layers=layers)[0][0]
        self.vc.vocode(self._matched(feats)[None])

    @property
    def latency(self) -> float:
        """Seconds of the signal by which the speech that comes out lags at most behind what was fed, without the time
        that computing takes. A resampler adds some 0.04 s.
        """
        encoded = self.encoded
        return (encoded.delay + self.vc.vocoder.context * encoded.encoder.hop) / encoded.encoder.sample_rate

    def feed(self, chunk: Waveform) -> Tensor:
        """Take the next samples (T,) or (1, T), any number of them, also none; return the converted speech that is
        ready: (T',) float32 on the CPU, at the converter's `sample_rate`, often empty.

        Integers of 8, 16 and 32 bits are scaled by their type. Raises `VocolabError` for a chunk that is no waveform of
        one channel or is not finite; the stream then goes on as if that chunk had not been fed.
        """
        if self.ended:
            raise UsageError("the stream has ended", "feed", "start another with KNNVC.stream")
        wav = _samples(chunk)
        if self.resampler is not None:
            wav = torch.from_numpy(self.resampler.resample_chunk(wav.numpy()))
        return self._join(self._speech(self.encoded.add(wav)))

    def end(self) -> Tensor:
        """The rest of the converted speech (T',). Nothing can be fed after it."""
        if self.ended:
            raise UsageError("the stream has ended", "end", "start another with KNNVC.stream")
        self.ended = True
        wav = torch.zeros(0)
        if self.resampler is not None:
            wav = torch.from_numpy(self.resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        encoded = chain(self.encoded.add(wav), self.encoded.rest())
        return self._join([*self._speech(encoded), self.spoken.rest()])

    def _speech(self, encoded: Iterable[Tensor]) -> Iterator[Tensor]:
        return (self.spoken.add(self._matched(feats)) for feats in encoded)

    @full_precision()
    @torch.inference_mode()
    def _matched(self, feats: Tensor) -> Tensor:
        return average(self.voice.synthesis, self.voice.pool.knn(feats, self.topk))

    def _join(self, pieces: Iterable[Tensor]) -> Tensor:
        wav = torch.cat([torch.zeros(0), *pieces])
        return wav if self.gain == 0 else (wav * 10 ** (self.gain / 20)).clamp(-1, 1)

    def _gain(self, loudness: float) -> float:
        """Decibels that bring the voice, as the vocoder speaks it, to a loudness in LKFS without clipping."""
        if not math.isfinite(loudness):
            raise UsageError(f"loudness is {loudness} LKFS", "stream", "give a number, or None to leave it")
        vocoder = self.vc.vocoder
        frames = self.voice.synthesis[: round(LEVEL_SECONDS * vocoder.sample_rate / vocoder.hop)]
        wav = self.vc.vocode(frames[None])[0].cpu()
        return audio.normalize_loudness(wav, vocoder.sample_rate, loudness).gain


class EncodedBlocks:
    """The frames of a signal that comes in, block by block, each encoded in its window."""

    def __init__(self, encoder: Encoder, layers: list[int] | None, context: float, lookahead: float, block: float):
        """`context`, `lookahead` and `block` in seconds are rounded to frames."""
        per_second = encoder.sample_rate / encoder.hop
        self.context = frame_count("context", context, per_second, 0)
        self.lookahead = frame_count("lookahead", lookahead, per_second, 0)
        self.block = frame_count("block", block, per_second, 1)
        window = (self.context + self.block + self.lookahead) / per_second
        if window > encoder.chunk_seconds:
            what = f"context, block and look-ahead of {window:g} s together"
            remedy = f"give at most {encoder.chunk_seconds:g} s, the longest that the encoder takes in one piece"
            raise UsageError(what, "stream", remedy)
        self.encoder = encoder
        self.encode = encoder.successive(self.block * encoder.hop, layers)
        self.samples = Tail()
        self.first = 0  # frame of the next block

    @property
    def delay(self) -> int:
        """Samples from the first of a block's first frame to the last that its window needs."""
        return (self.block + self.lookahead - 1) * self.encoder.hop + self.encoder.frame_samples

    def add(self, wav: Tensor) -> Iterator[Tensor]:
        """Take the next samples (T,); the features (block, C) of each block whose window they fill."""
        hop = self.encoder.hop
        for piece in wav.split(self.block * hop):  # so that a long chunk takes no more memory than short ones
            self.samples.append(piece.clone())  # the caller may use the memory of a chunk again
            while self.samples.stop >= (end := self.first * hop + self.delay):
                yield self._block(max(0, self.first - self.context), self.first + self.block, end)

    def rest(self) -> Iterator[Tensor]:
        """The features of the blocks that the signal's end left without a full window."""
        encoder, total = self.encoder, self.samples.stop
        frames = encoder.frames(total) if total >= encoder.min_samples else 0
        while self.first < frames:
            start = max(0, min(self.first - self.context, (total - encoder.min_samples) // encoder.hop))
            end = min(total, self.first * encoder.hop + self.delay)
            yield self._block(start, min(self.first + self.block, frames), end)

    @full_precision()
    @torch.inference_mode()
    def _block(self, start: int, last: int, end: int) -> Tensor:
        """Features of frames `first` … `last` - 1, in the window from frame `start` to sample `end`."""
        hop, first = self.encoder.hop, self.first
        feats = self.encode(self.samples.read(start * hop, end).to(self.encoder.placement.device))[0]
        self.first = last
        # A last window may need more than the context: an encoder takes no fewer than `min_samples`.
        kept = max(self.context, -(-self.encoder.min_samples // hop))
        self.samples.forget(max(0, last - kept) * hop)
        return feats[first - start : last - start]


def _samples(chunk: Waveform) -> Tensor:
    """A chunk as float32 (T,) on the CPU; it may be empty."""
    if isinstance(chunk, (Tensor, np.ndarray)) and 0 in chunk.shape:
        return torch.zeros(0)
    return audio.as_waveform(chunk, "chunk").cpu()


def _as_voice(voice: object) -> Voice:
    """A voice, or a matching set (N, C) as one."""
    if isinstance(voice, Tensor):
        return Voice(voice, voice)
    if not isinstance(voice, Voice):
        remedy = "give what get_voice or get_matching_set returns"
        raise UsageError(f"voice of type {type(voice).__name__}", "stream", remedy)
    return voice


def frame_count(name: str, seconds: float, per_second: float, least: int) -> int:
    """Seconds as a number of frames. Raises `UsageError` where there are fewer than `least`."""
    if not math.isfinite(seconds) or round(seconds * per_second) < least or seconds < 0:
        raise UsageError(f"{name} is {seconds} s", "stream", f"give at least {least / per_second:g} s")
    return round(seconds * per_second)


def _resampler(from_rate: int, to_rate: int) -> soxr.ResampleStream:
    if not 0 < from_rate < 2**31:
        raise UsageError(f"a sample rate of {from_rate} Hz", "stream", "give one above 0")
    return soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")
