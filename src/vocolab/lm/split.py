"""An AR and a NAR side by side: the whole of VALL-E."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from vocolab.errors import UsageError
from vocolab.lm.ar import AR, FirstCodebook
from vocolab.lm.base import Condition, LanguageModel, Losses, Response
from vocolab.lm.nar import NAR
from vocolab.lm.sampling import Sampling


class Split(LanguageModel):
    """Two networks, trained together; neither sees the other."""

    def __init__(self, ar: AR, nar: NAR):
        super().__init__()
        for name in ("levels", "size", "symbols", "languages"):
            if getattr(ar, name) != getattr(nar, name):
                raise UsageError(
                    f"ar has {getattr(ar, name)} {name}, nar has {getattr(nar, name)}", "Split", "give both the same"
                )
        self.ar, self.nar = ar, nar
        self.levels, self.size, self.symbols, self.languages = ar.levels, ar.size, ar.symbols, ar.languages
        self.window = ar.window

    def check_context(self, frames: int) -> None:
        self.ar.check_context(frames)

    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        self.check(condition, codes)
        first = self.ar.first_loss(condition, codes, lengths)
        return first + self.nar.rest_loss(condition, codes, lengths, levels)

    def generate_first(
        self, condition: Condition, sampling: Sampling, seeds: Tensor, on_step: Callable[[int], None] | None
    ) -> Response:
        return self.ar.generate_first(condition, sampling, seeds, on_step)

    def first_frames(self, condition: Condition, sampling: Sampling, seeds: Tensor) -> Iterator[Response]:
        return self.ar.first_frames(condition, sampling, seeds)

    def generate_rest(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response,
        seeds: Tensor,
        said: Tensor | None = None,
        start: int = 0,
    ) -> Response:
        return self.nar.generate_rest(condition, sampling, first, seeds, said, start)


def first_codebook(lm: LanguageModel) -> FirstCodebook | None:
    """What predicts the first codebook: `lm` itself, its AR, or None for a NAR."""
    part = lm.ar if isinstance(lm, Split) else lm
    return part if isinstance(part, FirstCodebook) else None
