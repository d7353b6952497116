"""The encoder of Whisper (Radford et al. 2022) as frame features at 50 Hz."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab import weights
from vocolab.attention import scaled_dot_product_attention
from vocolab.audio import mel_filterbank, reflect_pad
from vocolab.encoders.base import Encoder
from vocolab.errors import VocolabError

BUILT_IN = Path(__file__).parents[1] / "assets" / "whisper-tiny.en-encoder-2layers.safetensors"
N_FFT, MEL_HOP = 400, 160
DECADES = 8  # from a recording's maximum down to its floor
FORGET = 0.1  # decades a second by which a live signal's maximum falls, so that one slammed door is not kept for hours


@dataclass(frozen=True)
class WhisperShape:
    """Sizes of the model; the defaults are those of the built-in weights."""

    dim: int = 384
    depth: int = 2
    heads: int = 6
    ffn: int = 1536
    mels: int = 80

    @classmethod
    def from_config(cls, path: Path) -> WhisperShape:
        """From the config.json of a Hugging Face folder."""
        config = weights.read_json(path)
        if config.get("model_type") != "whisper":
            raise VocolabError(
                f"a {config.get('model_type')} model, not Whisper", path, "choose the encoder of that model"
            )
        names = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins")
        try:
            return cls(*(int(config[name]) for name in names))
        except (KeyError, TypeError, ValueError) as error:
            raise VocolabError(f"incomplete configuration ({error})", path, "replace the file") from error


class Block(nn.Module):
    """Pre-norm transformer block; names as in Hugging Face's checkpoints."""

    def __init__(self, dim: int, heads: int, ffn: int):
        super().__init__()
        self.heads = heads
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(dim, dim, bias=name != "k_proj") for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        )
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """x (B, L, dim); keep (B, 1, 1, L) is True at frames that exist, None where all do."""
        normed = self.self_attn_layer_norm(x)
        q, k, v = (
            self.self_attn[name](normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        attended = scaled_dot_product_attention(q, k, v, keep)  # (B, H, L, dim / H)
        x = x + self.self_attn["out_proj"](attended.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperBlocks(nn.Module):
    """The convolutions and the first `depth` blocks."""

    def __init__(self, shape: WhisperShape, depth: int):
        super().__init__()
        self.conv1 = nn.Conv1d(shape.mels, shape.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.dim, shape.dim, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(Block(shape.dim, shape.heads, shape.ffn) for _ in range(depth))

    def forward(self, mel: Tensor, lengths: Tensor | None) -> list[Tensor]:
        """mel (B, mels, M); lengths (B,) in mel frames, None where all rows are full. The input of the first block and
        every block's output, (B, L, dim).
        """
        frames = None if lengths is None else (lengths + 1) // 2
        # The convolutions pad with zeros, so whatever lies beyond a row's end must be zero before each.
        x = _zero_beyond(F.gelu(self.conv1(_zero_beyond(mel, lengths))), lengths)
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (B, L, dim)
        x = x + sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype)
        keep = None if frames is None else (torch.arange(x.shape[1], device=x.device) < frames[:, None])[:, None, None]
        outputs = [x]
        for block in self.layers:
            outputs.append(block(outputs[-1], keep))
        return outputs


class Whisper(Encoder):
    """Whisper's encoder without its 30-second padding: any length, one frame per 320 samples at 16 kHz.

    checkpoint: a Hugging Face folder or hub name; None for the built-in first two layers of tiny.en. The feature is the
    raw output of block `layer`, before the final LayerNorm; layer 0 is the input of the first block.
    """

    sample_rate = 16000
    hop = 320
    chunk_seconds = 30.0  # the positions it was trained on
    context_seconds = 1.0

    def __init__(self, checkpoint: str | Path | None = None, layer: int = 2):
        super().__init__()
        self.checkpoint, self.layer = checkpoint, layer
        self.blocks: WhisperBlocks | None = None

    @functools.cached_property
    def shape(self) -> WhisperShape:
        if self.checkpoint is None:
            return WhisperShape()
        return WhisperShape.from_config(weights.find_file(self.checkpoint, ["config.json"]))

    @functools.cached_property
    def weights_file(self) -> Path:
        if self.checkpoint is None:
            return BUILT_IN
        return weights.find_file(self.checkpoint, weights.FILES)

    @property
    def dim(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.dim

    @property
    def depth(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.depth

    def load(self, layers: Sequence[int] | None = None) -> Self:
        self._loaded(self._layers_or_default(layers, self.shape.depth))
        return self

    def _loaded(self, layers: list[int]) -> WhisperBlocks:
        """The blocks, at least up to the deepest of `layers`."""
        depth = max(layers, default=0)
        if self.blocks is None or len(self.blocks.layers) < depth:
            with torch.device("meta"):
                blocks = WhisperBlocks(self.shape, depth)
            tensors = weights.read_tensors(self.weights_file, functools.partial(_rename, depth=depth))
            self.blocks = weights.fill(blocks, tensors, self.weights_file).to(self.placement)
        return self.blocks

    def layers(self, wav: Tensor, lengths: Tensor | None = None, layers: Sequence[int] | None = None) -> list[Tensor]:
        lengths = self._check(wav, lengths)
        mel = self._spectrum(wav, lengths)
        mel_lengths = None if bool((lengths == wav.shape[1]).all()) else lengths // MEL_HOP
        return self._encode(mel, mel_lengths, layers)

    def encode_long(self, wav: Tensor, layers: Sequence[int] | None = None) -> list[Tensor]:
        """As in the base class; the spectrum is that of the whole recording, whose maximum sets the floor, so only
        attention is cut.
        """
        mel = self._spectrum(wav[None], self._check(wav[None], None))  # (1, mels, M)
        pieces = []
        for start, first, last, stop in self._pieces(self.frames(wav.shape[-1])):
            encoded = self._encode(mel[:, :, 2 * start : 2 * stop], None, layers)
            pieces.append([feats[0, first - start : last - start] for feats in encoded])
        return [torch.cat(feats) for feats in zip(*pieces, strict=True)]

    def successive(self, step: int, layers: Sequence[int] | None = None) -> Callable[[Tensor], list[Tensor]]:
        """As in the base class; the maximum that sets the floor is the window's or, where that was more, what is left
        of the one before: it falls by `FORGET`.
        """
        loudest = torch.tensor(-torch.inf)

        def encode(wav: Tensor) -> list[Tensor]:
            nonlocal loudest
            log = self._log_mel(wav[None], self._check(wav[None], None))
            loudest = torch.maximum(log.amax(), loudest.to(log.device) - FORGET * step / self.sample_rate)
            return [feats[0] for feats in self._encode(_floored(log, loudest), None, layers)]

        return encode

    def frames(self, samples: int) -> int:
        return (samples // MEL_HOP + 1) // 2

    def alignment_padding(self, samples: int) -> int:
        return 0  # the spectrum is centred: there is a frame for every whole hop

    def fingerprint(self) -> dict[str, Any]:
        return {"weights": self._digest}

    @functools.cached_property
    def _digest(self) -> str:
        return weights.sha256(self.weights_file)

    def _encode(self, mel: Tensor, mel_lengths: Tensor | None, layers: Sequence[int] | None) -> list[Tensor]:
        wanted = self._layers_or_default(layers, self.shape.depth)
        outputs = self._loaded(wanted)(mel.to(self.placement.dtype), mel_lengths)
        return [outputs[layer] for layer in wanted]

    def _spectrum(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Whisper's log-mel (B, mels, T // 160), each row with a floor 8 decades under its own maximum."""
        log = self._log_mel(wav, lengths)
        exists = torch.arange(log.shape[-1], device=log.device) < (lengths // MEL_HOP)[:, None, None]
        return _floored(log, log.masked_fill(~exists, -torch.inf).amax(dim=(1, 2), keepdim=True))

    def _log_mel(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Decimal logarithm (B, mels, T // 160) of the mel power."""
        filters = mel_filterbank(self.sample_rate, N_FFT, self.shape.mels).to(wav.device)
        padded = reflect_pad(wav.float(), N_FFT // 2, N_FFT // 2, lengths)
        window = torch.hann_window(N_FFT, device=wav.device)
        spectrum = torch.stft(padded, N_FFT, MEL_HOP, window=window, center=False, return_complex=True)[..., :-1]
        return (filters @ spectrum.abs().square()).clamp(min=1e-10).log10()


def _floored(log: Tensor, loudest: Tensor) -> Tensor:
    """Whisper's input: log-mel (B, mels, M) with its floor `DECADES` under the loudest, scaled."""
    return (torch.maximum(log, loudest - DECADES) + 4) / 4


def sinusoids(length: int, dim: int, device: torch.device) -> Tensor:
    """Whisper's fixed positions (length, dim): sines, then cosines."""
    frequencies = torch.exp(-math.log(10000) / (dim // 2 - 1) * torch.arange(dim // 2, device=device))
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _zero_beyond(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (B, C, M) with zeros from lengths (B,) on."""
    if lengths is None:
        return x
    return x.masked_fill(torch.arange(x.shape[-1], device=x.device) >= lengths[:, None, None], 0)


def _rename(name: str, depth: int) -> str | None:
    """The name in `WhisperBlocks` of a checkpoint's tensor, bare or as in `model.encoder.` of the full model; None for
    the rest.
    """
    name = name.removeprefix("model.")
    if name.startswith("decoder."):
        return None
    name = name.removeprefix("encoder.")
    if name.startswith("layers."):
        return name if int(name.split(".")[1]) < depth else None
    return name if name.startswith("conv") else None
