"""The picture of a run's curves."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vocolab.callbacks.meanings import meaning
from vocolab.curves import read_run
from vocolab.errors import VocolabError
from vocolab.files import atomic
from vocolab.pictures import curve_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 10  # points of the longest curve: with fewer there is nothing to see
COLUMNS = 2  # of the panels of validation
Curves = dict[str, np.ndarray]  # by name: (N, 2) of step and value


def draw_curves(folder: Path) -> None:
    """FOLDER/curves.png: losses of training above; below, a panel for each figure of validation, those of several
    codebooks together. A few points are not drawn.
    """
    try:
        curves = read_run(folder)
    except VocolabError:  # nothing was logged
        return
    del curves["step"]
    if max(map(len, curves.values()), default=0) < FEW:
        return
    from matplotlib.figure import Figure

    losses = {n: points for n, points in curves.items() if re.match(r"train/(?!lr$|acc)", n)}
    panels = _panels(curves)
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(10, 3.5 + 2 * rows), layout="constrained")
    grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=[3.5, *[2] * rows])
    _training(figure.add_subplot(grid[0, :]), losses)
    for place, (name, panel) in enumerate(panels.items()):
        _validation(figure.add_subplot(grid[1 + place // COLUMNS, place % COLUMNS]), name, panel)
    with atomic(folder / "curves.png") as temporary:
        figure.savefig(temporary, dpi=110)


def _panels(curves: Curves) -> dict[str, Curves]:
    """The curves of validation, by their names without the codebook."""
    found: dict[str, Curves] = {}
    for name, points in sorted(curves.items()):
        if name.startswith("val/"):
            found.setdefault(re.sub(r"_level_\d+$", "", name), {})[name] = points
    return found


def _training(axes: Axes, losses: Curves) -> None:
    curve_axes(axes, losses)
    if losses and min(points[:, 1].min() for points in losses.values()) > 0:
        axes.set_yscale("log", subs=[])
        _plain_ticks(axes)
    axes.set_title("training: losses, of the batches that were logged (less is better)", loc="left", fontsize=9)


def _plain_ticks(axes: Axes) -> None:
    """Ticks as 0.5, 1, 2, where a logarithmic axis writes powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=15))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _validation(axes: Axes, name: str, panel: Curves) -> None:
    curve_axes(axes, panel)
    legend = axes.get_legend()
    if panel.keys() == {name} and legend is not None:
        legend.remove()  # the title has the name
    told = re.sub(r" codebook \d+", " each codebook", meaning(next(iter(sorted(panel, reverse=True)))))
    title = f"validation: {name}" + (f", {told}" if told else "")
    axes.set_title(textwrap.fill(title, 85), loc="left", fontsize=8)
