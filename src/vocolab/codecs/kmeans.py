"""A codec fitted in a minute on the training speech: k-means of content features, then of what the mel has beyond
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.audio import LogMel
from vocolab.checks import check_codes, check_waveforms
from vocolab.codecs.base import Codec, keeping_precision
from vocolab.codecs.clusters import kmeans, means, nearest
from vocolab.codecs.streaming import Decoding, InWindows
from vocolab.errors import UsageError, VocolabError

FIT_SECONDS = 32.0  # of speech that the encoder sees at once while fitting


class FrameEncoder(Protocol):
    """What the codec asks of its encoder: a part of `vocolab.encoders.Encoder`."""

    sample_rate: int
    hop: int
    dim: int
    min_samples: int
    chunk_seconds: float

    def __call__(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor: ...

    def load(self) -> Any: ...

    def encode_long(self, wav: Tensor) -> list[Tensor]: ...

    def alignment_padding(self, samples: int) -> int: ...

    def fingerprint(self) -> dict[str, Any]: ...

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Any: ...


class KMeansCodec(Codec):
    """Codes of mel frames whose first level carries the words.

    A frame is `hops` frames of the encoder side by side. Level 0 is the nearest of `size` k-means centres of the
    encoder's features; it stands for the mean log-mel of the training frames near that centre. Each further level is
    the nearest of `residual_size` (default: `size`) k-means centres of what the log-mel has beyond the levels before it
    (residual quantisation); a small NAR predicts few of them better than many. Content features come first, because
    a language model learns such codes from text in minutes, and codes of mels alone hardly at all.

    encoder: an `Encoder`, such as `Whisper`; its weights are in no state dict of the codec.
    vocoder: log-mel (B, L, n_mels) at the encoder's hop -> waveform. A string names its checkpoint: the caller reads it
    and hands the module to `receive`; its weights are in the state dict under `vocoder.`.
    `fit` and a state dict give the codebooks; until then `fitted` is False.
    """

    encoder: FrameEncoder
    centres: Tensor  # (size, hops·dim), of the features
    codewords: Tensor  # (levels, size, hops·n_mels), log-mel
    vocoder: nn.Module | str | Path | None

    def __init__(
        self,
        encoder: nn.Module,
        levels: int = 2,
        size: int = 512,
        residual_size: int | None = None,
        hops: int = 2,
        n_mels: int = 80,
        n_fft: int = 1024,
        fmin: float = 0.0,
        fmax: float | None = 8000.0,
        vocoder: str | Path | nn.Module | None = None,
        seed: int = 0,
        iterations: int = 25,
        max_frames: int = 200_000,
    ):
        super().__init__()
        counts = {"levels": levels, "size": size, "hops": hops, "iterations": iterations}
        residuals = size if residual_size is None else residual_size
        for name, value in (counts | {"residual_size": residuals}).items():
            if value < 1:
                raise UsageError(f"{name} is {value}", "KMeansCodec", "give a whole number above 0")
        if residuals > size:
            raise UsageError(f"residual_size is {residuals}", "KMeansCodec", f"give at most size ({size})")
        if max_frames < size:
            raise UsageError(f"max_frames is {max_frames}", "KMeansCodec", f"give at least size ({size})")
        self.__dict__["encoder"] = encoder  # not a submodule: see `_apply`
        self.levels, self.size, self.hops = levels, size, hops
        self.n_mels, self.n_fft, self.fmin, self.fmax = n_mels, n_fft, fmin, fmax
        self.seed, self.iterations, self.max_frames = seed, iterations, max_frames
        self.residual_size = residual_size
        self.sample_rate, self.hop = self.encoder.sample_rate, self.encoder.hop * hops
        self.log_mel = LogMel(self.sample_rate, n_fft, self.encoder.hop, n_mels, fmin, fmax)
        self.min_samples = max(self.hop, self.encoder.min_samples, max(self.log_mel.padding) + 1)
        # NaN until fitted, so that nobody takes what is in them for codebooks.
        self.register_buffer("centres", torch.full((size, hops * self.encoder.dim), torch.nan))
        self.register_buffer("codewords", torch.full((levels, size, hops * n_mels), torch.nan))
        self.vocoder = None
        if isinstance(vocoder, nn.Module):
            self.receive(vocoder)
        else:
            self.vocoder = vocoder

    def _apply(self, fn: Callable, recurse: bool = True) -> Self:
        """Move the encoder along, though it is not a submodule: its parameters are neither trained nor saved here."""
        self.encoder._apply(keeping_precision(fn))
        return super()._apply(fn, recurse)

    @property
    def fitted(self) -> bool:
        return not bool(self.codewords[0, 0, 0].isnan())

    def receive(self, vocoder: nn.Module) -> Self:
        """Take `vocoder` (log-mel -> waveform) for `decode`, frozen; return self. Raises `VocolabError` where it wants
        other frames.
        """
        wanted = {"in_channels": self.n_mels, "hop": self.hop // self.hops, "sample_rate": self.sample_rate}
        for name, value in wanted.items():
            if getattr(vocoder, name) != value:
                what = f"vocoder with {name} {getattr(vocoder, name)}, the codec's mels have {value}"
                raise VocolabError(what, type(vocoder).__name__, "train one on the codec's log-mel spectrogram")
        self.vocoder = vocoder.requires_grad_(False).eval()
        return self

    def load(self) -> Self:
        self.encoder.load()
        return self

    def frames(self, samples: int) -> int:
        return samples // self.hop if samples >= self.min_samples else 0

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        self._check_fitted()
        feats, mels = self._frames(wav, lengths)  # (B, L, hops·dim), (B, L, hops·n_mels)
        codes = nearest(feats.flatten(0, 1), self.centres)
        levels, rest = [codes], mels.flatten(0, 1)
        for level in range(1, self.levels):
            rest = rest - self.codewords[level - 1][levels[-1]]
            levels.append(nearest(rest, self._residuals(level)))
        return torch.stack(levels).unflatten(1, feats.shape[:2]).transpose(0, 1)  # (B, K, L)

    def mel(self, codes: Tensor) -> Tensor:
        """Log-mel (B, L·hops, n_mels) of codes (B, k, L), k <= levels."""
        self._check_fitted()
        check_codes(codes, self.levels, self.size, "KMeansCodec")
        return self.unchecked_mel(codes)

    def unchecked_mel(self, codes: Tensor) -> Tensor:
        """`mel` without a look at the values of the codes, which a graph cannot take."""
        frames = self.codewords[0][codes[:, 0]]  # (B, L, hops·n_mels)
        for level in range(1, codes.shape[1]):
            frames = frames + self.codewords[level][codes[:, level]]
        return frames.unflatten(2, (self.hops, self.n_mels)).flatten(1, 2)

    def check_can_decode(self) -> None:
        if not isinstance(self.vocoder, nn.Module):
            remedy = (
                "train a vocoder of its mels and name the checkpoint, in training by --data.codec.vocoder, "
                "to speak by --codec; or hand one to receive()"
            )
            raise VocolabError("the codec has no vocoder", "KMeansCodec", remedy)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        self.check_can_decode()
        assert isinstance(self.vocoder, nn.Module)
        return self.vocoder(self.mel(codes))

    def decoding(self) -> Decoding:
        self.check_can_decode()
        frames = getattr(self.vocoder, "context", None)  # those of the vocoder; a module of another kind has none
        return super().decoding() if frames is None else InWindows(self.decode, -(-frames // self.hops), self.hop)

    def fingerprint(self) -> dict[str, Any]:
        """The encoder's weights, and the codebooks once fitted."""
        found = self.encoder.fingerprint()
        if self.fitted:
            digest = hashlib.sha256()
            for buffer in (self.centres, self.codewords):
                digest.update(buffer.float().cpu().contiguous().numpy().tobytes())
            found = found | {"codebooks": digest.hexdigest()}
        return found

    @torch.no_grad()
    def fit(self, speech: Iterable[Tensor]) -> None:
        """Learn the codebooks from recordings (T,) at `sample_rate` Hz. The same recordings in the same order give the
        same codebooks. At most `max_frames` frames are used, drawn at random; recordings shorter than a frame are
        skipped.
        """
        feats, mels = self._sample(speech)
        if len(feats) < self.size:
            remedy = f"give more speech, or set size to at most {len(feats)}"
            raise VocolabError(f"{len(feats)} frames for {self.size} codes", "KMeansCodec", remedy)
        self.centres.copy_(kmeans(feats, self.size, self.seed, self.iterations))
        members = nearest(feats, self.centres)
        self.codewords[0], _ = means(mels, members, self.size)
        for level in range(1, self.levels):
            mels = mels - self.codewords[level - 1][members]
            self.codewords[level] = 0.0  # a code that is never given, but might be sampled, adds nothing
            residuals = self._residuals(level)
            residuals.copy_(kmeans(mels, len(residuals), self.seed + level, self.iterations))
            members = nearest(mels, residuals)

    def _residuals(self, level: int) -> Tensor:
        """The codewords (residual_size, hops·n_mels) that a level above 0 chooses from."""
        return self.codewords[level, : self.residual_size or self.size]

    def _sample(self, speech: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Features (N, hops·dim) and log-mels (N, hops·n_mels) of at most `max_frames` frames, uniform over all."""
        generator = torch.Generator().manual_seed(self.seed)
        feats, mels, keys = [self.centres[:0]], [self.codewords[0, :0]], [torch.empty(0)]
        for wav, lengths in self._batches(speech):
            batch_feats, batch_mels = self._frames(wav, lengths)
            exists = torch.arange(batch_feats.shape[1], device=wav.device) < (lengths // self.hop)[:, None]
            feats.append(batch_feats[exists])
            mels.append(batch_mels[exists])
            keys.append(torch.rand(len(feats[-1]), generator=generator))
            if sum(map(len, keys)) > 2 * self.max_frames:
                feats, mels, keys = self._thin(feats, mels, keys)
        feats, mels, _ = self._thin(feats, mels, keys)
        return feats[0], mels[0]

    def _thin(self, feats: list[Tensor], mels: list[Tensor], keys: list[Tensor]) -> tuple[list[Tensor], ...]:
        """The frames with the `max_frames` smallest keys, in the order in which they came."""
        together = torch.cat(keys)
        kept = together.argsort(stable=True)[: self.max_frames].sort().values
        index = kept.to(self.centres.device)
        return [torch.cat(feats)[index]], [torch.cat(mels)[index]], [together[kept]]

    def _batches(self, speech: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Recordings as padded batches (B, T) with lengths (B,), in their order."""
        batch: list[Tensor] = []
        for wav in speech:
            if len(wav) < self.min_samples:
                continue
            longest = max(len(other) for other in [wav, *batch])
            if batch and (len(batch) + 1) * longest > FIT_SECONDS * self.sample_rate:
                yield self._padded(batch)
                batch = []
            batch.append(wav)
        if batch:
            yield self._padded(batch)

    def _padded(self, batch: list[Tensor]) -> tuple[Tensor, Tensor]:
        device = self.centres.device
        wav = nn.utils.rnn.pad_sequence(batch, batch_first=True).to(device)
        return wav, torch.tensor([len(row) for row in batch], device=device)

    def _frames(self, wav: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features (B, L, hops·dim) and log-mels (B, L, hops·n_mels) of the frames of wav (B, T)."""
        lengths = check_waveforms(wav, lengths, self.min_samples, self.sample_rate, "KMeansCodec")
        total = int(lengths.max()) // self.hop
        mels = self.log_mel(wav, lengths).transpose(1, 2)  # (B, L·hops or more, n_mels)
        return self._stacked(self._features(wav, lengths), total), self._stacked(mels, total)

    def _features(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, L', dim), frame i standing for samples [encoder.hop·i, encoder.hop·(i+1))."""
        encoder = self.encoder
        if (
            wav.shape[1] > encoder.chunk_seconds * self.sample_rate
        ):  # each row as if alone: in pieces only where it is long itself
            rows = [row[:length] for row, length in zip(wav, lengths.tolist(), strict=True)]
            rows = [F.pad(row, (0, encoder.alignment_padding(len(row)))) for row in rows]
            return nn.utils.rnn.pad_sequence([encoder.encode_long(row)[0] for row in rows], batch_first=True)
        padded = torch.tensor([n + encoder.alignment_padding(n) for n in lengths.tolist()], device=wav.device)
        wav = F.pad(wav[:, : int(lengths.max())], (0, int(padded.max() - lengths.max())))
        return encoder(wav, padded)

    def _stacked(self, x: Tensor, total: int) -> Tensor:
        """The first total·hops frames of x (B, ≥ total·hops, C) as (B, total, hops·C)."""
        return x[:, : total * self.hops].unflatten(1, (total, self.hops)).flatten(2)

    def _check_fitted(self) -> None:
        if not self.fitted:
            remedy = "fit it on the training speech (vocolab prepare), or load a state dict of a fitted one"
            raise VocolabError("the codec is not fitted", "KMeansCodec", remedy)
