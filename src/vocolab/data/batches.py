"""What a batch holds, and the kinds of batches a recipe may ask for."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vocolab.data.index import Index
from vocolab.data.plan import Cover, CropPlan, LengthPlan, Plan, UtterancePlan
from vocolab.errors import UsageError


@dataclass
class SpeechBatch:
    """Samples padded on the right. A field is None where the shards do not hold it.

    The loader gives the stored types (int16 audio, fp16 features, int16 codes), half as much to move; `unpacked` gives
    the types below, and the data module applies it on the device.
    """

    audio: Tensor | None = None  # (B, T) float32 in [-1, 1); T = L * hop
    audio_lengths: Tensor | None = None  # (B,) samples
    feats: Tensor | None = None  # (B, L, C) float32
    codes: Tensor | None = None  # (B, K, L) int64
    lengths: Tensor | None = None  # (B,) frames
    text: Tensor | None = None  # (B, N) int64 symbol ids, `<s>` and `</s>` included
    text_lengths: Tensor | None = None  # (B,)
    language: Tensor | None = None  # (B,) int64
    prompts: Tensor | None = None  # (B, K, P) int64 codes of the same speaker
    prompt_lengths: Tensor | None = None  # (B,) frames
    rows: Tensor | None = None  # (B,) rows of the split's index
    starts: Tensor | None = None  # (B,) first frame within the utterance
    keys: list[str] = field(default_factory=list)  # of whole utterances; crops go without
    speakers: list[str] = field(default_factory=list)

    def unpacked(self) -> SpeechBatch:
        """The batch in the types to compute with; unchanged where it is in them."""
        return dataclasses.replace(
            self,
            audio=_float_audio(self.audio),
            feats=None if self.feats is None else self.feats.float(),
            codes=None if self.codes is None else self.codes.long(),
            prompts=None if self.prompts is None else self.prompts.long(),
        )

    def pin_memory(self) -> SpeechBatch:
        """The batch in page-locked memory; the hook torch's DataLoader looks for."""
        tensors = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: v.pin_memory() for k, v in tensors.items() if isinstance(v, Tensor)})


class Batches(ABC):
    """How samples are drawn from a corpus and put together."""

    @abstractmethod
    def plan(self, index: Index, seed: int, epoch: int) -> Plan:
        """The full batches of a training epoch, not yet divided among ranks. A pure function of its arguments."""

    @abstractmethod
    def cover(self, index: Index, ranks: int = 1) -> Plan:
        """The batches of every evaluation, each sample in one of them; a multiple of `ranks`, none empty."""


class Crops(Batches):
    """`size` crops of `frames` frames, uniform over the corpus. Shorter utterances are left out."""

    def __init__(self, frames: int = 22, size: int = 16):
        self.frames = _positive("frames", frames)
        self.size = _positive("size", size)

    def plan(self, index: Index, seed: int, epoch: int) -> Plan:
        return CropPlan(index.rows["frames"], self.frames, self.size, seed, epoch)

    def cover(self, index: Index, ranks: int = 1) -> Plan:
        return Cover(self.plan(index, 0, 0), ranks)


class Utterances(Batches):
    """`size` whole utterances: in random order for training, those of similar length together for evaluation."""

    def __init__(self, size: int = 8):
        self.size = _positive("size", size)

    def plan(self, index: Index, seed: int, epoch: int) -> Plan:
        return UtterancePlan(index.rows["frames"], self.size, seed, epoch)

    def cover(self, index: Index, ranks: int = 1) -> Plan:
        return Cover(LengthPlan(index.rows["frames"], self.size), ranks)


def _float_audio(audio: Tensor | None) -> Tensor | None:
    return audio.float() / 32768 if audio is not None and audio.dtype == torch.int16 else audio


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise UsageError(f"{name} is {value}", "data.batches", "give a whole number above 0")
    return value
