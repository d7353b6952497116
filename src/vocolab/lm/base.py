"""What every language model of codes is given, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

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
    level_hits: Tensor  # (K,) targets of each level among the ten likeliest
    level_tokens: Tensor  # (K,) targets of each level
    aux_loss: Tensor | None = None  # scalar of mixture backbones, a mean; its weight is the task's
    extra: dict[str, Tensor] = field(default_factory=dict)  # more sums worth logging

    def __add__(self, other: Losses) -> Losses:
        """Both: of two models, whose auxiliary losses add up."""
        aux = [loss for loss in (self.aux_loss, other.aux_loss) if loss is not None]
        names = {**self.extra, **other.extra}
        return Losses(
            self.total + other.total,
            self.tokens + other.tokens,
            self.level_loss + other.level_loss,
            self.level_hits + other.level_hits,
            self.level_tokens + other.level_tokens,
            sum(aux[1:], aux[0]) if aux else None,
            {name: sum(x.extra[name] for x in (self, other) if name in x.extra) for name in names},
        )


@dataclass
class Response:
    """Generated codes."""

    codes: Tensor  # (B, k, L) int64, right-padded with 0
    lengths: Tensor  # (B,) frames
    stopped: Tensor  # (B,) bool: ended by itself; False: cut at the limit
    steps: int = 0  # autoregressive steps taken


class LanguageModel(nn.Module, ABC):
    """Codes (B, K, L) given text and a prompt: AR, NAR, both (`Split`) or one network for all levels (`Unified`)."""

    levels: int  # K
    size: int  # codes a codebook
    symbols: int  # rows of the text embedding: the symbol map must not be larger
    languages: int  # rows of the language embedding; 0: no language in the sequence

    @abstractmethod
    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        """Losses of the response codes (B, K, L) with lengths (B,). `levels` (B,) fixes the level that each row trains
        of those drawn at random (NAR, Unified), for validation and tests.
        """

    @abstractmethod
    def generate(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response | None = None,
        seeds: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Response:
        """Codes of all levels this model has, at least one frame a row: (B, 1, L) for an AR alone.

        `first`: levels already there, (B, k, L); a NAR alone needs them. `seeds` (B,) int64: a row's answer depends on
        its own seed and condition, never on the rows beside it; None draws them from torch's generator. `on_step` is
        called with the number of autoregressive steps done. Call it on a model in eval mode.
        """
