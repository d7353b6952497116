"""Draw the curves of runs, from their metrics.csv."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vocolab.curves import read_run
from vocolab.errors import UsageError, VocolabError
from vocolab.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
NOISY = 100  # a curve of so many points or more is drawn as its running mean, with its points faintly behind


@dataclass
class Curve:
    """A metric of a run."""

    run: str
    name: str
    x: np.ndarray  # (N,)
    y: np.ndarray  # (N,)

    @property
    def level(self) -> int | None:
        """The N of a name that ends in `_level_N`; None for another name."""
        found = re.search(r"_level_(\d+)$", self.name)
        return int(found[1]) if found else None


def matching(key: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that a key stands for: KEY, `train/KEY` and `train/KEY_level_*`, in order of levels."""
    levels = re.compile(rf"train/{re.escape(key)}_level_\d+")
    found = [name for name in names if name in (key, f"train/{key}") or levels.fullmatch(name)]
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def curves(runs: Sequence[Path], xs: str, ys: Sequence[str]) -> dict[str, list[Curve]]:
    """The curves of each key of `ys` over `xs`, of all runs that have them.

    Where a value was logged at a step without `xs`, that is interpolated. Raises `UsageError` for a key that no run
    has, naming near ones.
    """
    tables = dict(zip(_labels(runs), map(read_run, runs), strict=True))
    known = sorted({name for table in tables.values() for name in table})
    found: dict[str, list[Curve]] = {}
    for key in ys:
        found[key] = [
            Curve(run, name, _at(table, _x_name(xs, table, run, known), table[name][:, 0]), table[name][:, 1])
            for run, table in tables.items()
            for name in matching(key, list(table))
        ]
        if not found[key]:
            raise _unknown(key, "--ys", known)
    return found


def _x_name(key: str, table: dict[str, np.ndarray], run: str, known: list[str]) -> str:
    """The name of the metric that `key` means on the x axis."""
    if key in table:
        return key
    names = [name for name in matching(key, list(table)) if "_level_" not in name]
    if not names:
        if key in known or f"train/{key}" in known:
            raise VocolabError(f"run without {key}", run, "choose another --xs, such as step")
        raise _unknown(key, "--xs", known)
    return names[0]


def _at(table: dict[str, np.ndarray], name: str, steps: np.ndarray) -> np.ndarray:
    """The values of a metric at `steps`, interpolated."""
    return steps if name == "step" else np.interp(steps, table[name][:, 0], table[name][:, 1])


def _unknown(key: str, flag: str, known: list[str]) -> UsageError:
    bare = {name.removeprefix("train/"): name for name in known} | {name: name for name in known}
    near = list(dict.fromkeys(bare[name] for name in difflib.get_close_matches(key, bare, 5, 0.5)))
    return UsageError(f"no metric {key!r}", flag, f"near: {', '.join(near)}" if near else f"one of {', '.join(known)}")


def _labels(runs: Sequence[Path]) -> list[str]:
    """Short names of the runs: their folders', with as much of the path as tells them apart."""
    parts = [(run.parent if run.is_file() else run).resolve().parts for run in runs]
    if len(set(parts)) < len(parts):
        raise UsageError("a run is named twice", "RUN", "name each once")
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths have different parts")


def plot(runs: Sequence[Path], xs: str, ys: Sequence[str], output: Path, overwrite: bool = False) -> None:
    """Write the picture that `draw` makes. Raises `VocolabError` where `output` exists."""
    figure = draw(runs, xs, ys)
    with atomic(output, overwrite) as temporary:
        figure.savefig(temporary, dpi=130)


def draw(runs: Sequence[Path], xs: str, ys: Sequence[str]) -> Figure:
    """`ys` over `xs`, an axes for each key: colours tell levels (or runs, where there are none), line styles runs. A
    notebook shows the figure.

    Raises `VocolabError` where a run or a metric is missing.
    """
    from matplotlib.figure import Figure

    found = curves(runs, xs, ys)
    names = list(dict.fromkeys(curve.run for group in found.values() for curve in group))
    figure = Figure(figsize=(9.5, 0.6 + 3.1 * len(found)), layout="constrained")
    all_axes = figure.subplots(len(found), squeeze=False, sharex=True)[:, 0]
    for axes, (key, group) in zip(all_axes, found.items(), strict=True):
        for curve in group:
            _draw(axes, curve, names, group)
        axes.set_ylabel(key, fontsize=10)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        _legend(axes, group, names)
    averaged = any(len(curve.y) >= NOISY for group in found.values() for curve in group)
    all_axes[-1].set_xlabel(xs.replace("_", " ") + "   (curves: running means)" * averaged, fontsize=10)
    all_axes[-1].ticklabel_format(axis="x", style="sci", scilimits=(-3, 5), useMathText=True)
    return figure


def _draw(axes: Axes, curve: Curve, names: list[str], group: list[Curve]) -> None:
    colour, style, width = _look(curve, names, group)
    y = curve.y
    if len(y) >= NOISY:
        if len(group) <= 4:  # more of them would be a fog
            axes.plot(curve.x, y, color=colour, linewidth=0.6, alpha=0.2)
        y = running_mean(y, len(y) // 40)
    marker = "o" if len(y) == 1 else None
    axes.plot(curve.x, y, color=colour, linestyle=style, linewidth=width, marker=marker, markersize=4)


def _look(curve: Curve, names: list[str], group: list[Curve]) -> tuple[Any, Any, float]:
    """Colour, line style and line width of a curve."""
    from matplotlib import colormaps

    levels = sorted({c.level for c in group if c.level is not None})
    run = names.index(curve.run)
    if not levels:
        return colormaps["tab10"](run % 10), STYLES[0], 1.6
    if curve.level is None:  # the mean of the levels beside them
        return "black", STYLES[run % len(STYLES)], 1.8
    shade = 0.92 * levels.index(curve.level) / max(len(levels) - 1, 1)  # the yellow end is hard to see on white
    return colormaps["viridis"](shade), STYLES[run % len(STYLES)], 1.3


def _legend(axes: Axes, group: list[Curve], names: list[str]) -> None:
    """A legend to the right of the axes: what each colour means, then what each line style means."""
    from matplotlib.lines import Line2D

    levels = sorted({c.level for c in group if c.level is not None})
    present = [name for name in names if any(c.run == name for c in group)]
    first: dict[int | str | None, Curve] = {}
    for curve in group:
        first.setdefault(curve.level if levels else curve.run, curve)
    handles = []
    for what in [*([None] if None in first else []), *levels] if levels else present:
        colour, style, width = _look(first[what], names, group)
        label = what if not levels else "all levels" if what is None else f"level {what}"
        handles.append(Line2D([], [], color=colour, linewidth=width, label=label))
    if levels and len(names) > 1:
        handles.append(Line2D([], [], linestyle="none", label=" "))
        for name in present:
            style = STYLES[names.index(name) % len(STYLES)]
            handles.append(Line2D([], [], color="grey", linestyle=style, linewidth=1.3, label=name))
    legend = axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False, borderaxespad=0
    )
    if levels and len(names) == 1:
        legend.set_title(present[0])
        legend.get_title().set_fontsize(8)


def running_mean(y: np.ndarray, window: int) -> np.ndarray:
    """The mean of the `window` values around each of y (N,), of fewer at the ends."""
    if window < 2:
        return y
    ones = np.ones(window)
    return np.convolve(y, ones, "same") / np.convolve(np.ones(len(y)), ones, "same")
