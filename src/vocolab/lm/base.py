"""What every language model of codes is given, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vocolab.errors import UsageError, VocolabError
from vocolab.lm.sampling import Sampling


@dataclass
class Condition:
    """What is said and by whom. All right-padded."""

    text: Tensor  # (B, N) int64 symbol ids, `<s>` and `</s>` included
    text_lengths: Tensor  # (B,)
    prompt: Tensor  # (B, K, P) int64 codes of a few seconds of the voice
    prompt_lengths: Tensor  # (B,)
    language: Tensor | None = None  # (B,) int64

    def __len__(self) -> int:
        return len(self.text)

    def select(self, rows: Tensor) -> Condition:
        """The condition of `rows` (R,)."""
        language = None if self.language is None else self.language[rows]
        return Condition(
            self.text[rows], self.text_lengths[rows], self.prompt[rows], self.prompt_lengths[rows], language
        )


@dataclass
class Losses:
    """Sums over the real tokens of a batch, so that batches and ranks of unequal length add up exactly."""

    total: Tensor  # scalar: summed cross-entropy (weighted), to be divided by `tokens`
    tokens: Tensor  # scalar float: how many tokens it sums over (weighted)
    level_loss: Tensor  # (K,) summed cross-entropy of each level, without gradient
    level_hits: Tensor  # (K,) number of targets of each level that are among the ten likeliest
    level_tokens: Tensor  # (K,) number of targets of each level
    aux_loss: Tensor | None = None  # scalar that balances a mixture's experts: a mean, not a sum; the task weighs it
    extra: dict[str, Tensor] = field(default_factory=dict)  # more sums to log, by name

    def __add__(self, other: Losses) -> Losses:
        """The losses of two models: everything adds up, the auxiliary losses too."""
        extra = dict(self.extra)
        for name, value in other.extra.items():
            extra[name] = extra[name] + value if name in extra else value
        aux = self.aux_loss
        if other.aux_loss is not None:
            aux = other.aux_loss if aux is None else aux + other.aux_loss
        return Losses(
            self.total + other.total,
            self.tokens + other.tokens,
            self.level_loss + other.level_loss,
            self.level_hits + other.level_hits,
            self.level_tokens + other.level_tokens,
            aux,
            extra,
        )


@dataclass
class Response:
    """Generated codes."""

    codes: Tensor  # (B, k, L) int64, right-padded with 0
    lengths: Tensor  # (B,) frames
    stopped: Tensor  # (B,) bool: True where the model said stop, False where the limit cut the row
    steps: int = 0  # tokens drawn for the row that got the most, the stop token included
    passes: Tensor | None = None  # (B,) passes of the backbone that a row took part in before it ended

    @classmethod
    def given(cls, codes: Tensor, lengths: Tensor) -> Response:
        """Codes (B, k, L) that are there already, such as those of a recording: each row is whole."""
        return cls(codes, lengths, torch.ones_like(lengths, dtype=torch.bool))


class LanguageModel(nn.Module, ABC):
    """Codes (B, K, L) given text and a prompt: AR, NAR, both (`Split`) or one network for all levels (`Unified`)."""

    levels: int  # K, the number of codebooks
    size: int  # how many codes a codebook has
    symbols: int  # rows of the text embedding: the symbol map must not be larger
    languages: int  # rows of the language embedding; 0: the sequence holds no language
    window: int | None = None  # how many of the last frames one sees when the first codebook is spoken; None: all

    @abstractmethod
    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        """The losses of the response codes (B, K, L) with lengths (B,).

        NAR and Unified train one level a row. `levels` (B,) says which, for validation and tests; None draws them.
        """

    @torch.no_grad()
    def generate(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response | None = None,
        seeds: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Response:
        """The codes of all levels this model has, at least one frame a row: (B, 1, L) for an AR alone. Call it in eval
        mode.

        Args:
            first: levels already there, (B, k, L); a NAR alone needs them.
            seeds: (B,) int64. A row's answer depends on its own seed and condition, never on the rows beside it. None
                draws them from torch's generator.
            on_step: called with the number of autoregressive steps done.
        """
        self.check(condition)
        self.check_context(sampling.max_ar_context)
        seeds = torch.randint(2**62, (len(condition),)) if seeds is None else seeds
        seeds = seeds.to(condition.text.device)
        if first is None:
            first = self.generate_first(condition, sampling, seeds, on_step)
        return self.generate_rest(condition, sampling, first, seeds)

    def generate_first(
        self, condition: Condition, sampling: Sampling, seeds: Tensor, on_step: Callable[[int], None] | None
    ) -> Response:
        """The first codebook, (B, 1, L)."""
        raise self._no_first()

    def first_frames(self, condition: Condition, sampling: Sampling, seeds: Tensor) -> Iterator[Response]:
        """The first codebook while it grows: after each step of the model, all of it so far (see `decode.frames`). The
        last one holds what `generate_first` gives. Call it without gradient, in eval mode, and without beams.
        """
        raise self._no_first()

    def _no_first(self) -> VocolabError:
        what = f"{type(self).__name__} does not predict the first codebook"
        return VocolabError(what, "generate", "give `first`, or take Split or Unified")

    def generate_rest(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response,
        seeds: Tensor,
        said: Tensor | None = None,
        start: int = 0,
    ) -> Response:
        """The response with the codebooks that `first` lacks and this model predicts.

        A response that is generated in windows: `said` (B, k, n) are all codebooks of the first n frames, which stay;
        `start` is the place of the first frame in the whole response, by which its random numbers go.
        """
        return first

    def check_context(self, frames: int) -> None:
        """Raises `UsageError` where a frame cannot be spoken seeing the last `frames` alone (`--max-ar-context`); 0 is
        as in training.
        """
        if frames:
            what = f"{type(self).__name__} does not predict the first codebook"
            raise UsageError(what, f"--max-ar-context {frames}", "leave it out")

    def check(self, condition: Condition, codes: Tensor | None = None) -> None:
        """Raises `VocolabError` where ids of the condition or of codes (B, K, L) are not this model's.

        Ids are looked at on the CPU alone: elsewhere the look would make every step wait for the device.
        """
        if self.languages and condition.language is None:
            raise VocolabError("missing, and the model was trained with languages", "language", "name one")
        _check_range("text", condition.text, self.symbols, "the symbol map of another model?")
        if self.languages and condition.language is not None:
            _check_range("language", condition.language, self.languages, "the languages of another model?")
        self._check_codes("prompt", condition.prompt)
        if codes is not None:
            self._check_codes("codes", codes)

    def _check_codes(self, name: str, codes: Tensor) -> None:
        if codes.shape[1] != self.levels:
            what = f"{codes.shape[1]} codebooks, the model has {self.levels}"
            raise VocolabError(what, name, "take the codec it was trained with")
        _check_range(name, codes, self.size, "the codes of another codec?")


def _check_range(name: str, ids: Tensor, count: int, remedy: str) -> None:
    if ids.device.type == "cpu" and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise VocolabError(f"ids from {int(ids.min())} to {int(ids.max())}, the model has {count}", name, remedy)
