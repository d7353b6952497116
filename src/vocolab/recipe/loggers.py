"""The loggers of a run: RUN/metrics.csv always, and TensorBoard unless the recipe names others."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities import rank_zero_info, rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from vocolab.errors import VocolabError
from vocolab.files import atomic


class RunCSV(Logger):
    """RUN/metrics.csv: a row for each time something is logged, a column for each metric, blank cells without value.

    A resumed run goes on in the same file; rows of steps that are done again are replaced. (Lightning's own logger
    starts a new folder, or overwrites the file.)
    """

    def __init__(self, save_dir: str | Path | None = None):
        """`save_dir`: the run folder; the command line fills it in."""
        super().__init__()
        self._save_dir = save_dir
        self._columns: list[str] = []
        self._opened = False

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._save_dir or ".")

    @property
    def log_dir(self) -> str:
        return self.save_dir

    @property
    def path(self) -> Path:
        return Path(self.save_dir) / "metrics.csv"

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {"step": step or 0, **{key: float(value) for key, value in metrics.items()}}
        if not self._opened:
            self._open(step or 0)
        if set(row) - set(self._columns):
            self._rewrite(self._rows(), row)
        try:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        except OSError as error:
            remedy = "free space, then go on with --ckpt_path last"
            raise VocolabError(f"cannot write ({error.strerror or error})", self.path, remedy) from error

    def _open(self, step: int) -> None:
        """Take over what an earlier part of the run wrote before `step`."""
        self._opened = True
        rows = [row for row in self._rows() if row.get("step", "").isdigit() and int(row["step"]) < step]
        self._columns = []
        self._rewrite(rows, {"step": step})

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        with open(self.path, newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, str]], more: Mapping[str, Any]) -> None:
        """Write the file anew with the columns of `rows` and `more`."""
        self._columns = sorted({key for row in rows for key in row} | set(self._columns) | set(more), key=_order)
        with atomic(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


def _order(column: str) -> tuple[bool, bool, str]:
    return column != "step", column != "epoch", column


def in_run(given: Any, run: Path) -> Any:
    """The `trainer.logger` of a recipe with the run folder filled in where a logger's `save_dir` is left open."""
    if isinstance(given, list):
        return [in_run(entry, run) for entry in given]
    if isinstance(given, Namespace) and given.get("init_args.save_dir", ...) in (None, "", "."):
        given = given.clone()
        given.init_args.save_dir = str(run)
    return given


def complete(built: Any, run: Path) -> list[Logger]:
    """The loggers of a run: metrics.csv and those the recipe names, else TensorBoard; none for `false`."""
    if built is False:
        return []
    if built is None or built is True:
        try:
            return [RunCSV(run), TensorBoardLogger(str(run), name="tensorboard", version="")]
        except ModuleNotFoundError:
            rank_zero_info(
                "TensorBoard is not installed: the figures go into metrics.csv alone (pip install tensorboard)"
            )
            return [RunCSV(run)]
    named = list(built) if isinstance(built, (list, tuple)) else [built]
    return named if any(isinstance(logger, RunCSV) for logger in named) else [RunCSV(run), *named]
