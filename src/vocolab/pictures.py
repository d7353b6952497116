"""Pictures of speech and of runs. matplotlib's object interface only: no window system, no state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vocolab.files import atomic


def mel_axes(axes, mel: Tensor, title: str, hop_seconds: float = 0.02) -> None:
    """Draw a log-mel (80, L) with time in seconds."""
    low = float(mel.max()) - 9.2  # 80 dB below the loudest cell, the same for every picture
    extent = (0, mel.shape[-1] * hop_seconds, 0, mel.shape[0])
    axes.imshow(
        mel.numpy(), origin="lower", aspect="auto", vmin=low, extent=extent, cmap="magma", interpolation="nearest"
    )
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_ylabel("mel band", fontsize=8)
    axes.tick_params(labelsize=7)


def mel_figure(mels: Mapping[str, Tensor], path: Path, hop_seconds: float = 0.02) -> Path:
    """Write a picture of named log-mels (80, L), one above the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.1 * len(mels)), layout="constrained")
    for axes, (title, mel) in zip(figure.subplots(len(mels), squeeze=False)[:, 0], mels.items(), strict=True):
        mel_axes(axes, mel, title, hop_seconds)
    axes.set_xlabel("seconds", fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return path
