"""A Vocos (Siuzdak 2023) that decodes EnCodec's codes in place of EnCodec's own decoder."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab import weights
from vocolab.audio.stft import inverse_stft
from vocolab.errors import VocolabError

FILE = "pytorch_model.bin"
BANDWIDTH_LEVELS = (2, 4, 8, 16)  # how many codebooks each bandwidth has: 1.5, 3, 6 and 12 kbps
_CODEBOOKS = "feature_extractor.codebook_weights"


class BandwidthNorm(nn.Module):
    """Layer norm with a scale and a shift for each bandwidth."""

    def __init__(self, bandwidths: int, dim: int):
        super().__init__()
        self.scale, self.shift = nn.Embedding(bandwidths, dim), nn.Embedding(bandwidths, dim)

    def forward(self, x: Tensor, bandwidth: Tensor) -> Tensor:
        """x (B, L, D); bandwidth (): an index into `BANDWIDTH_LEVELS`."""
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * self.scale(bandwidth) + self.shift(bandwidth)


class Block(nn.Module):
    """A ConvNeXt block over frames; names as in the published file."""

    def __init__(self, bandwidths: int, dim: int, hidden: int):
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.norm = BandwidthNorm(bandwidths, dim)
        self.pwconv1, self.pwconv2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.gamma = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor, bandwidth: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        mixed = self.norm(self.dwconv(x.transpose(1, 2)).transpose(1, 2), bandwidth)
        return x + self.gamma * self.pwconv2(F.gelu(self.pwconv1(mixed)))


class VocosDecoder(nn.Module):
    """Codes (B, k, L) -> waveform (B, L·hop), in the layout of `charactr/vocos-encodec-24khz`.

    Its codebooks are its own: EnCodec's, trained further.
    """

    def __init__(self, size: int, levels: int, inputs: int, dim: int, hidden: int, blocks: int, n_fft: int, hop: int):
        super().__init__()
        bandwidths = len(BANDWIDTH_LEVELS)
        self.size, self.levels, self.n_fft, self.hop = size, levels, n_fft, hop
        # Frames on each side that a sample depends on: three a convolution, and those whose windows cover it.
        self.context = 3 * (blocks + 1) + math.ceil((n_fft - hop) / 2 / hop)
        self.codebooks = nn.Parameter(torch.empty(levels * size, inputs))
        self.embed = nn.Conv1d(inputs, dim, 7, padding=3)
        self.norm = BandwidthNorm(bandwidths, dim)
        self.convnext = nn.ModuleList(Block(bandwidths, dim, hidden) for _ in range(blocks))
        self.final_layer_norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, n_fft + 2)

    def forward(self, codes: Tensor) -> Tensor:
        count = codes.shape[1]
        # The smallest bandwidth with at least that many levels.
        number = next(i for i, levels in enumerate(BANDWIDTH_LEVELS) if count <= levels)
        bandwidth = torch.tensor(number, device=codes.device)
        offsets = self.size * torch.arange(count, device=codes.device)[:, None]
        x = F.embedding(codes + offsets, self.codebooks).sum(dim=1)  # (B, L, inputs)
        x = self.norm(self.embed(x.transpose(1, 2)).transpose(1, 2), bandwidth)  # (B, L, D)
        for block in self.convnext:
            x = block(x, bandwidth)
        log_magnitude, phase = self.head(self.final_layer_norm(x)).float().chunk(2, dim=-1)
        spectrum = torch.polar(log_magnitude.clamp(max=math.log(1e2)).exp(), phase)  # (B, L, bins)
        return inverse_stft(spectrum, torch.hann_window(self.n_fft, device=x.device), self.hop)


def load_vocos(checkpoint: str | Path, size: int, hop: int) -> VocosDecoder:
    """The decoder in a file, a folder or a hub repository, for codebooks of `size` codes and frames of `hop` samples.

    Raises `VocolabError` where there is none, or one of another kind.
    """
    path = Path(checkpoint).expanduser()
    file = path if path.is_file() else weights.find_file(checkpoint, [FILE])
    tensors = weights.read_tensors(file, _rename)
    if "codebooks" not in tensors or "norm.scale.weight" not in tensors:
        what = "not a Vocos of EnCodec's codes"
        raise VocolabError(what, file, "give charactr/vocos-encodec-24khz or one of its kind")
    names = ("codebooks", "embed.weight", "head.weight", "convnext.0.pwconv1.weight")
    if any(name not in tensors for name in names):
        raise VocolabError("checkpoint lacks tensors of a Vocos", file, "copy or download it again")
    codebooks, embed, head, hidden = (tensors[name] for name in names)
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("convnext.")})
    n_fft = len(head) - 2
    if len(codebooks) % size or n_fft % hop:
        what = f"{len(codebooks)} codewords and an n_fft of {n_fft}, the codec has {size} a level and hop {hop}"
        raise VocolabError(what, file, "give a Vocos trained on this codec")
    with torch.device("meta"):
        decoder = VocosDecoder(
            size, len(codebooks) // size, codebooks.shape[1], len(embed), len(hidden), blocks, n_fft, hop
        )
    return weights.fill(decoder, tensors, file)


def _rename(name: str) -> str | None:
    """The name in `VocosDecoder` of a tensor of the published file; None for those that follow from its sizes."""
    if name == _CODEBOOKS:
        return "codebooks"
    if (match := re.fullmatch(r"(?:backbone|(head)\.out)\.(.+)", name)) is None:
        return None
    return f"head.{match[2]}" if match[1] else match[2]
