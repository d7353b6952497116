"""Features that lie on the disk already: a file for each recording, as kNN-VC's preparation leaves them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch

from vocolab.data.preparation.scan import Scan
from vocolab.data.preparation.spec import Preparation
from vocolab.errors import VocolabError
from vocolab.torchfile import read_tensor

if TYPE_CHECKING:
    from vocolab.data.preparation.encode import Speech

# Frames by which a file may differ from its recording: features made without the padding of a training have one fewer,
# and resampling may make a recording longer or shorter by a sample.
TOLERANCE = 1


def attach(preparation: Preparation, scan: Scan, speeches: Iterable[Speech]) -> dict[int, str]:
    """Give each utterance the features of its file; returns, by position, why others have none.

    Where a file has a frame more or fewer than its recording, both are cut to the shorter: frame i stands for samples
    [hop·i, hop·(i+1)) whatever comes after.
    """
    assert preparation.features_dir is not None and preparation.encoder is not None
    reasons = {}
    for speech in speeches:
        source = scan.items[speech.position].utterance.source
        try:
            feats = _read(Path(preparation.features_dir).expanduser(), source, preparation.encoder.dim)
        except VocolabError as error:
            reasons[speech.position] = error.what
            continue
        if abs(len(feats) - speech.frames) > TOLERANCE:
            reasons[speech.position] = f"features have another length ({len(feats)} frames, expected {speech.frames})"
            continue
        speech.frames = min(len(feats), speech.frames)
        speech.pcm = speech.pcm[: speech.frames * preparation.hop]
        speech.feats = [feats[: speech.frames]]
    return reasons


def _read(folder: Path, source: str, dim: int) -> np.ndarray:
    """The features fp16 (L, dim) of a recording: `a/b.flac` has them in `a/b.pt`. Raises `VocolabError`."""
    path = folder / PurePosixPath(source.lstrip("/")).with_suffix(".pt")
    if not path.is_file():
        raise VocolabError(f"no features ({path.relative_to(folder)})", folder, "make them, or leave the recording out")
    feats = read_tensor(path)
    if feats.ndim != 2 or feats.shape[1] != dim or not feats.is_floating_point():
        what = f"features of another kind ({tuple(feats.shape)} of {feats.dtype}, expected (L, {dim}) of floats)"
        raise VocolabError(what, path, "name the encoder that made them")
    return feats.to(torch.float16).numpy()
