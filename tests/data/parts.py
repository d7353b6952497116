"""Codecs and a reading of text small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from vocolab.codecs.base import Codec
from vocolab.errors import VocolabError
from vocolab.text import Text


class Loudness(Codec):
    """Level k of a frame: its mean magnitude in 128ths over k + 1. The last part of a hop is a frame too."""

    def __init__(
        self, levels: int = 3, size: int = 64, hop: int = 400, sample_rate: int = 16000, vocoder: str | None = None
    ):
        super().__init__()
        self.levels, self.size, self.hop, self.sample_rate, self.vocoder = levels, size, hop, sample_rate, vocoder

    def frames(self, samples: int) -> int:
        return -(-samples // self.hop)

    def energies(self, wav: Tensor) -> Tensor:
        """(B, T) -> (B, L)"""
        wav = torch.nn.functional.pad(wav, (0, -wav.shape[1] % self.hop))
        return wav.abs().unflatten(1, (-1, self.hop)).mean(2)

    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        steps = 128 * torch.arange(1, self.levels + 1)[:, None]
        return (self.energies(wav)[:, None] * steps).long().clamp(max=self.size - 1)

    def decode(self, codes: Tensor) -> Tensor:
        return (codes[:, 0] / 128).repeat_interleave(self.hop, 1)


class Quantiles(Loudness):
    """Level 0 is the quantile of a frame's loudness in the speech that it was fitted on; the others follow from it.

    Where `log` is a path, `fit` writes the length of each recording it is given there.
    """

    def __init__(self, levels: int = 2, size: int = 32, hop: int = 400, sample_rate: int = 16000, log: str = ""):
        super().__init__(levels, size, hop, sample_rate)
        self.log = log
        self.register_buffer("edges", torch.full((size - 1,), torch.nan))

    @property
    def fitted(self) -> bool:
        return not bool(self.edges.isnan().any())

    def fit(self, speech: Iterable[Tensor]) -> None:
        speech = list(speech)
        if self.log:
            np.save(self.log, np.array([len(wav) for wav in speech]))
        energies = torch.cat([self.energies(wav[None])[0] for wav in speech])
        energies = energies[torch.randperm(len(energies))[: max(len(energies) // 2, 1)]]  # a choice that needs a seed
        self.edges.copy_(energies.quantile(torch.arange(1, self.size) / self.size))

    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        if not self.fitted:
            raise VocolabError("not fitted")
        first = torch.bucketize(self.energies(wav), self.edges)
        return torch.stack([(first + k) % self.size for k in range(self.levels)], 1)


class Letters(Text):
    """The letters and spaces of a text; it cannot spell `#`."""

    def symbols(self, text: str, language: str = "") -> list[str]:
        if "#" in text:
            raise VocolabError("nobody knows how to say #", text, "leave it out")
        return list(text.lower())
