"""Pictures of speech and of runs. matplotlib's object interface only: no window system, no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from vocolab.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Alignment = tuple[Tensor, list[str]]  # how much each of N symbols adds to each frame (N, L), and the symbols


def mel_axes(axes: Axes, mel: Tensor, title: str, hop_seconds: float = 0.02) -> None:
    """Draw a log-mel (80, L) with time in seconds."""
    low = float(mel.max()) - 9.2  # 80 dB below the loudest cell, the same for every picture
    extent = (0, mel.shape[-1] * hop_seconds, 0, mel.shape[0])
    axes.imshow(
        mel.numpy(), origin="lower", aspect="auto", vmin=low, extent=extent, cmap="magma", interpolation="nearest"
    )
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_ylabel("mel band", fontsize=8)
    axes.tick_params(labelsize=7)


def alignment_axes(axes: Axes, added: Tensor, symbols: Sequence[str], title: str, frame_seconds: float) -> None:
    """Draw how much each of N symbols adds to the guess at each of L frames, in nats (N, L), with time in seconds; the
    first symbol lowest.
    """
    extent = (0, added.shape[1] * frame_seconds, -0.5, len(symbols) - 0.5)
    brightest = max(float(added.quantile(0.995)), 1e-6)  # a single frame must not darken all others
    axes.imshow(
        added.numpy(),
        origin="lower",
        aspect="auto",
        vmin=0,
        vmax=brightest,
        extent=extent,
        cmap="viridis",
        interpolation="nearest",
    )
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_yticks(range(len(symbols)), symbols, fontsize=5)
    axes.tick_params(axis="x", labelsize=7)


FEW = 30  # points of a curve: so few are marked


def curve_axes(axes: Axes, curves: Mapping[str, np.ndarray], xlabel: str = "updates") -> None:
    """Draw named curves, (N, 2) of x and y each."""
    for name, points in curves.items():
        marker = "o" if len(points) < FEW else ""
        axes.plot(points[:, 0], points[:, 1], label=name, linewidth=1, marker=marker, markersize=3)
    axes.set_xlabel(xlabel, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(fontsize=7)


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


def codes_axes(axes: Axes, codes: Tensor, title: str, frame_seconds: float = 1.0) -> None:
    """Draw codes (K, L), a row a codebook, the first on top, over frames or seconds. A colour is a code; near colours
    mean nothing.
    """
    extent = (0, codes.shape[1] * frame_seconds, len(codes) - 0.5, -0.5)
    axes.imshow(codes.numpy(), aspect="auto", cmap="turbo", interpolation="nearest", extent=extent)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_ylabel("codebook", fontsize=8)
    axes.set_yticks(range(len(codes)))
    axes.tick_params(labelsize=7)


def spoken_figure(
    codes: Mapping[str, Tensor],
    mels: Mapping[str, Tensor],
    path: Path,
    hop_seconds: float = 0.02,
    alignment: Alignment | None = None,
) -> Path:
    """Write a picture of named codes (K, L) over named log-mels (80, L') over an alignment of the text, if given."""
    from matplotlib.figure import Figure

    heights = [0.6 + 0.14 * len(value) for value in codes.values()] + [1.7] * len(mels)
    heights += [] if alignment is None else [1.0 + 0.05 * len(alignment[1])]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    for one, (title, value) in zip(axes, codes.items(), strict=False):
        codes_axes(one, value, f"codes, {title}", hop_seconds)
    if alignment is not None:
        alignment_axes(
            axes[-1], *alignment, "how much each symbol adds to each frame of the first codebook", hop_seconds
        )
    for one, (title, mel) in zip(axes[len(codes) :], mels.items(), strict=False):
        mel_axes(one, mel, title, hop_seconds)
    axes[-1].set_xlabel("seconds", fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return path
