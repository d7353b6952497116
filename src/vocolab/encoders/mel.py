"""The log-mel spectrogram as an encoder, for vocoders of mels such as the original HiFi-GAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor

from vocolab.audio import LogMel
from vocolab.encoders.base import Encoder
from vocolab.errors import VocolabError


class Mel(Encoder):
    """HiFi-GAN's log-mel spectrogram (see `vocolab.audio.LogMel`) as frames; it has no layers and no weights."""

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 320,
        n_mels: int = 80,
        fmin: float = 0.0,
        fmax: float | None = 8000.0,
    ):
        super().__init__()
        self.sample_rate, self.n_fft, self.hop = sample_rate, n_fft, hop
        self.n_mels, self.fmin, self.fmax = n_mels, fmin, fmax
        self.dim = n_mels
        self.log_mel = LogMel(sample_rate, n_fft, hop, n_mels, fmin, fmax)
        self.min_samples = max(hop, max(self.log_mel.padding) + 1)  # reflection padding needs that much
        self.context_seconds = 2 * n_fft / sample_rate  # so `encode_long` is exact

    def load(self, layers: Sequence[int] | None = None) -> Self:
        return self

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, layers: Sequence[int | None] | None = None
    ) -> list[Tensor]:
        lengths = self._check(wav, lengths)
        wanted = [None] if layers is None else list(layers)
        if any(layer is not None for layer in wanted):
            raise VocolabError(f"layers {wanted}", "Mel", "a spectrogram has no layers: leave them out")
        full = bool((lengths == wav.shape[1]).all())
        feats = self.log_mel(wav, None if full else lengths).transpose(1, 2).to(self.placement.dtype)  # (B, L, n_mels)
        return [feats for _ in wanted]

    def frames(self, samples: int) -> int:
        return samples // self.hop if samples >= self.min_samples else 0

    def alignment_padding(self, samples: int) -> int:
        return 0

    @property
    def frame_samples(self) -> int:
        return max(self.hop, self.min_samples)
