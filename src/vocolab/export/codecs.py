"""A codec's way from codes to speech as an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vocolab.codecs import Codec, KMeansCodec
from vocolab.export.graph import Graph, Run
from vocolab.export.parts import expressible
from vocolab.vocoders import Vocoder

CASES = ((1, 1), (3, 10), (1, 66))  # rows and frames that a file is checked at


class Decode(nn.Module):
    def __init__(self, codec: KMeansCodec):
        super().__init__()
        self.codec = codec

    def forward(self, codes: Tensor) -> Tensor:
        """codes (B, K, L) -> waveform (B, L·hop)."""
        assert isinstance(self.codec.vocoder, nn.Module)
        return self.codec.vocoder(self.codec.unchecked_mel(codes))


def decoder_graphs(codec: Codec) -> dict[str, Graph]:
    """The graph `decoder` of a k-means codec with its vocoder, and none of another codec: the weights of EnCodec are
    not the model's to hand on.
    """
    if not (isinstance(codec, KMeansCodec) and isinstance(codec.vocoder, Vocoder)):
        return {}
    codec.vocoder.eval().fold()

    def pairs(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, frames in CASES:
            codes = _codes(codec, rows, frames)
            yield run({"codes": codes})[0], codec.decode(codes)

    axes = {"codes": {0: "batch", 2: "frames"}, "waveform": {0: "batch", 1: "samples"}}
    graph = Graph(Decode(expressible(codec)), {"codes": _codes(codec, 2, 7)}, ("waveform",), axes, pairs)
    return {"decoder": graph}


def _codes(codec: KMeansCodec, rows: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * rows + frames)
    return torch.randint(codec.residual_size or codec.size, (rows, codec.levels, frames), generator=generator)
