"""A vocoder as ONNX graphs: features to a waveform, and conversion, with the matching before it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vocolab.export.graph import Graph, Run
from vocolab.export.parts import expressible
from vocolab.matching import Pool, average
from vocolab.vocoders import Vocoder

CASES = ((1, 1), (3, 20), (1, 131))  # rows and frames that a file is checked at


class Vocode(nn.Module):
    def __init__(self, vocoder: Vocoder):
        super().__init__()
        self.vocoder = vocoder

    def forward(self, features: Tensor) -> Tensor:
        """features (B, L, C) -> waveform (B, L·hop)."""
        return self.vocoder(features)


class Convert(nn.Module):
    """kNN-VC: each source frame becomes the mean of the `topk` frames of a voice that are nearest to it by cosine."""

    def __init__(self, vocoder: Vocoder, topk: int):
        super().__init__()
        self.vocoder, self.topk = vocoder, topk

    def forward(self, source: Tensor, matching: Tensor, synthesis: Tensor) -> Tensor:
        """source (B, L, C), the voice's frames matching (N, C) and synthesis (N, C') -> waveform (B, L·hop)."""
        # The source's norm does not change the order of a row.
        scale = 1 / matching.norm(dim=1).clamp(min=1e-12)
        chosen = ((source @ matching.T) * scale).topk(self.topk).indices  # (B, L, k)
        return self.vocoder(synthesis[chosen].mean(2))


def vocoder_graph(vocoder: Vocoder) -> Graph:
    vocoder = vocoder.eval().fold()

    def pairs(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, frames in CASES:
            feats = _features(rows, frames, vocoder.in_channels)
            yield run({"features": feats})[0], vocoder(feats)

    axes = {"features": {0: "batch", 1: "frames"}, "waveform": {0: "batch", 1: "samples"}}
    example = {"features": _features(2, 7, vocoder.in_channels)}
    return Graph(Vocode(expressible(vocoder)), example, ("waveform",), axes, pairs)


def conversion_graph(vocoder: Vocoder, topk: int) -> Graph:
    """The voice and the source have the vocoder's features; where two layers are used, those that are compared may
    have another width in principle, but both are of one encoder.
    """
    vocoder, width = vocoder.eval().fold(), vocoder.in_channels

    def pairs(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, frames in CASES:
            size = topk + 40 * frames
            source, matching, synthesis = (
                _features(*shape) for shape in ((rows, frames, width), *[(1, size, width)] * 2)
            )
            found = run({"source": source, "matching": matching[0], "synthesis": synthesis[0]})[0]
            pool = Pool(matching[0])
            feats = torch.stack([average(synthesis[0], pool.knn(row, topk)) for row in source])
            yield found, vocoder(feats)

    axes = {
        "source": {0: "batch", 1: "frames"},
        "matching": {0: "pool"},
        "synthesis": {0: "pool"},
        "waveform": {0: "batch", 1: "samples"},
    }
    voice = _features(2, topk + 11, width)
    example = {"source": _features(2, 7, width), "matching": voice[0], "synthesis": voice[1]}
    return Graph(Convert(expressible(vocoder), topk), example, ("waveform",), axes, pairs)


def _features(rows: int, frames: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * rows + frames)
    return torch.randn(rows, frames, width, generator=generator)
