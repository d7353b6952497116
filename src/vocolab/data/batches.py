"""What a batch holds, and the kinds of batches a recipe may ask for."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocolab.data.budget import PromptKind, Prompts, TokenPlan
from vocolab.data.matched import MatchedPlan
from vocolab.data.plan import Cover, CropPlan, EvenPlan, Items, LengthPlan, Plan, UtterancePlan
from vocolab.data.shards.index import Index
from vocolab.errors import UsageError
from vocolab.rng import mix


@dataclass
class SpeechBatch:
    """Samples padded on the right. A field is None where the shards do not hold it.

    The loader gives the stored types (int16 audio, fp16 features, int16 codes), which are half as much to move. On the
    device the data module calls `unpacked`, which gives the types below.
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
        """The batch in the types above, to compute with; a batch that is in them comes back unchanged."""
        return dataclasses.replace(
            self,
            audio=_float_audio(self.audio),
            feats=None if self.feats is None else self.feats.float(),
            codes=None if self.codes is None else self.codes.long(),
            prompts=None if self.prompts is None else self.prompts.long(),
        )

    def select(self, places: list[int]) -> SpeechBatch:
        """The samples at these places of the batch."""
        chosen: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                chosen[f.name] = value[places]
            elif value:
                chosen[f.name] = [value[place] for place in places]
        return SpeechBatch(**chosen)

    def pin_memory(self) -> SpeechBatch:
        """The batch in page-locked memory; the hook torch's DataLoader looks for."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        pinned: dict[str, Any] = {k: v.pin_memory() for k, v in values.items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **pinned)


class Batches(ABC):
    """How samples are drawn from a corpus and put together."""

    remedy: str  # of the error for a split that is too small for a batch
    left_out: str = "too short for a batch"  # why a plan leaves utterances out

    @abstractmethod
    def plan(self, index: Index, seed: int, epoch: int, ranks: int = 1) -> Plan:
        """The batches of a training epoch, not yet divided among ranks. A pure function of its arguments."""

    @abstractmethod
    def cover(self, index: Index, ranks: int = 1) -> Plan:
        """The batches of every evaluation, each sample in one of them; a multiple of `ranks`, none empty."""

    @abstractmethod
    def longest(self, index: Index) -> Items:
        """A training batch that takes as much memory as any, to be tried before the others."""


class Crops(Batches):
    """`size` crops of `frames` frames, uniform over the corpus. Shorter utterances are left out."""

    def __init__(self, frames: int = 22, size: int = 16):
        self.frames = _positive("frames", frames)
        self.size = _positive("size", size)
        self.remedy = "reduce --data.batches.size or --data.batches.frames, or add speech"

    def plan(self, index: Index, seed: int, epoch: int, ranks: int = 1) -> EvenPlan:
        return CropPlan(index.rows["frames"], self.frames, self.size, seed, epoch)

    def cover(self, index: Index, ranks: int = 1) -> Plan:
        return Cover(self.plan(index, 0, 0), ranks)

    def longest(self, index: Index) -> Items:
        return self.plan(index, 0, 0)[0]


class MatchedCrops(Crops):
    """Crops whose features are matched as `convert` matches them: each frame is replaced by the mean of its nearest
    frames in other speech of the same speaker, before every update anew.

    Prematching (Baas et al. 2023, 3.2) does so once, with the same number of neighbours of all the speaker's speech.
    Here both are drawn for each crop, so that the vocoder hears in training what a short reference or another number of
    neighbours gives, and it hears plain features too. The shards hold plain features: leave `data.prematch` out.
    """

    def __init__(
        self,
        frames: int = 22,
        size: int = 16,
        plain: float = 0.5,
        topk: int | list[int] = [1, 8],  # noqa: B006 (never changed, and shown as it is in a recipe's full config)
        pool_seconds: float | list[float] = [5.0, 60.0],  # noqa: B006
    ):
        """
        Args:
            frames: of a crop.
            size: crops of a batch.
            plain: the share of crops whose features stay as they are.
            topk: neighbours of a frame; two numbers: any number between them.
            pool_seconds: of the speech that a crop is matched with; two numbers: any length between them, short ones
                as often as long ones (their logarithm is uniform). A speaker's speech may be less.
        """
        super().__init__(frames, size)
        if not 0 <= plain <= 1:
            raise UsageError(f"plain is {plain}", "data.batches", "give a share from 0 to 1")
        self.plain, self.topk, self.pool_seconds = plain, topk, pool_seconds
        self._topk, self._seconds = _ends("topk", topk), _ends("pool_seconds", pool_seconds)

    def plan(self, index: Index, seed: int, epoch: int, ranks: int = 1) -> MatchedPlan:
        if not index.channels:
            what = "MatchedCrops needs features, and the shards have none"
            raise UsageError(what, "data.batches", "set --data.encoder")
        rate = index.sample_rate / index.hop  # frames a second
        shortest, longest = (max(round(seconds * rate), 1) for seconds in self._seconds)
        crops = super().plan(index, seed, epoch, ranks)
        return MatchedPlan(crops, index, self.plain, self._topk, (shortest, longest), mix(seed, epoch, 6))


class Utterances(Batches):
    """`size` whole utterances: in random order for training, those of similar length together for evaluation."""

    def __init__(self, size: int = 8):
        self.size = _positive("size", size)
        self.remedy = "reduce --data.batches.size, or add speech"

    def plan(self, index: Index, seed: int, epoch: int, ranks: int = 1) -> UtterancePlan:
        return UtterancePlan(index.rows["frames"], self.size, seed, epoch)

    def cover(self, index: Index, ranks: int = 1) -> Plan:
        return Cover(LengthPlan(index.rows["frames"], self.size), ranks)

    def longest(self, index: Index) -> Items:
        plan = LengthPlan(index.rows["frames"], self.size)
        return plan.items(np.arange(max(plan.count - plan.size, 0), plan.count))


class TokenBudget(Batches):
    """Utterances with prompts for a language model of codes, as many as fit into `tokens` positions, padding included.

    A position is a symbol, a frame of the prompt or of the response, or one of a few marks; a batch takes as many as
    its rows times those of its longest row.

    Utterances of similar length go together, so little of a batch is padding; each comes once an epoch. Prompts are of
    three kinds: `prefix`, an utterance's own start, the rest being the response (Wang et al. 2023, VALL-E, 4.2);
    `segment`, a stretch of the utterance; `speaker`, a stretch of other utterances of the speaker, and of its own only
    where there is no other. A source shorter than the prompt is taken whole; a prefix takes half of it at most.
    """

    def __init__(
        self,
        tokens: int = 6000,
        prompt: PromptKind = "speaker",
        prompt_seconds: float | list[float] = 3.0,
        min_seconds: float | None = None,
        max_seconds: float | None = None,
        spread: float = 0.1,
        audio: bool = False,
    ):
        """
        Args:
            tokens: the most positions of a batch, padding included.
            prompt: where prompts are cut from.
            prompt_seconds: how long they are; two numbers: any length between them, the same within a batch.
            min_seconds: shorter utterances are left out.
            max_seconds: longer utterances are left out.
            spread: how much longer the longest utterance of a batch may be than the shortest, as a share of it.
            audio: give the recordings too, which language models do not hear.
        """
        self.tokens = _positive("tokens", tokens)
        if prompt not in ("prefix", "segment", "speaker"):
            raise UsageError(f"prompt is {prompt!r}", "data.batches", "set it to prefix, segment or speaker")
        self.prompt, self.prompt_seconds = prompt, prompt_seconds
        self._seconds = _ends("prompt_seconds", prompt_seconds)
        if (min_seconds or 0) > (math.inf if max_seconds is None else max_seconds):
            what = f"min_seconds is {min_seconds} and max_seconds {max_seconds}"
            raise UsageError(what, "data.batches", "set min_seconds below max_seconds")
        if not spread >= 0:
            raise UsageError(f"spread is {spread}", "data.batches", "give 0 or more; 0.1 is usual")
        self.min_seconds, self.max_seconds, self.spread = min_seconds, max_seconds, spread
        self.audio = audio
        self.remedy = "loosen --data.batches.min_seconds and --data.batches.max_seconds, or add speech"
        self.left_out = "shorter than min_seconds or longer than max_seconds"

    def plan(self, index: Index, seed: int, epoch: int, ranks: int = 1) -> TokenPlan:
        """Raises `VocolabError` where an utterance alone exceeds the budget."""
        if not index.levels:
            raise UsageError("TokenBudget needs codes, and the shards have none", "data.batches", "set --data.codec")
        rate = index.sample_rate / index.hop  # frames a second
        shortest, longest = (max(round(seconds * rate), 1) for seconds in self._seconds)
        limits = ((self.min_seconds or 0) * rate, math.inf if self.max_seconds is None else self.max_seconds * rate)
        prompts = Prompts(index, self.prompt, self.audio)
        return TokenPlan(index, self.tokens, prompts, (shortest, longest), limits, self.spread, seed, epoch, ranks)

    def cover(self, index: Index, ranks: int = 1) -> Plan:
        return self.plan(index, 0, 0, ranks)

    def longest(self, index: Index) -> Items:
        return self.plan(index, 0, 0).longest()


def _float_audio(audio: Tensor | None) -> Tensor | None:
    return audio.float() / 32768 if audio is not None and audio.dtype == torch.int16 else audio


def _ends(name: str, value: Any) -> tuple[Any, Any]:
    """A number above 0, or the least and the most of a range, as two numbers."""
    ends = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(ends) != 2 or not 0 < ends[0] <= ends[1]:
        raise UsageError(f"{name} is {value}", "data.batches", "give a number above 0, or the least and the most")
    return ends[0], ends[1]


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise UsageError(f"{name} is {value}", "data.batches", "give a whole number above 0")
    return value
