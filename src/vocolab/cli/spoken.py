"""What `synthesize` writes and shows of texts while they are spoken."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vocolab.cli.progress import Display
from vocolab.errors import VocolabError

if TYPE_CHECKING:
    from torch import Tensor

    from vocolab.lm import Sampling
    from vocolab.pipelines.passages import Part


@dataclass(frozen=True)
class Settings:
    """How texts are written, and what is printed of them."""

    sample_rate: int
    overwrite: bool
    json: bool  # print figures
    by_piece: bool  # of each piece, not of each text
    sampling: Sampling

    def print(self, figures: dict[str, Any], target: Path) -> None:
        if self.json:
            print(
                json.dumps(figures | {"path": str(target), "sampling": dataclasses.asdict(self.sampling)}), flush=True
            )


@dataclass
class Tally:
    """What has been spoken of a text."""

    pieces: int = 0
    frames: int = 0
    samples: int = 0  # with the pauses
    codes: int = 0
    passes: int = 0
    computing: float = 0.0  # s
    cut: int = 0  # pieces that did not stop by themselves

    def add(self, wav: Tensor, codes: Tensor) -> None:
        """Count samples (T,) and codes (k, L)."""
        self.samples += len(wav)
        self.frames += codes.shape[1]
        self.codes += codes.numel()

    def end(self, stopped: bool, passes: int) -> None:
        """A piece has ended, by itself or cut."""
        self.pieces += 1
        self.cut += not stopped
        self.passes += passes

    def add_part(self, part: Part) -> None:
        """Count a whole piece."""
        self.add(part.wav, part.spoken.codes)
        self.computing += part.spoken.codes.numel() / part.spoken.tokens_per_s
        self.end(part.spoken.stopped, part.spoken.passes)

    def figures(self, sample_rate: int) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "stopped": not self.cut,
            "seconds": round(self.samples / sample_rate, 3),
            "tokens_per_s": round(self.codes / max(self.computing, 1e-9), 1),
            "passes": self.passes,
        }

    def told(self, sample_rate: int, first_sound: float | None = None) -> str:
        """The same in words. `first_sound`: seconds until a stream could be heard."""
        pieces = f"{self.pieces} pieces, " if self.pieces > 1 else ""
        line = f"{pieces}{self.frames} frames, {self.samples / sample_rate:.1f} s"
        if first_sound is not None:
            line += f", the first sound after {first_sound:.2f} s"
        if self.cut and self.pieces > 1:
            again = "--retries" if first_sound is None else "--seed"  # a stream says nothing twice
            return f"{line}; {self.cut} of them did not stop by themselves and were cut: see --max-ar-steps, {again}"
        if self.cut:
            line += f"; it did not stop by itself and was cut after {self.frames} frames: see --max-ar-steps, --seed"
        return line


class Progress(Display):
    """On a terminal a bar, of frames where all is said in one batch, else of pieces; lines for what is done."""

    def __init__(self, pieces: int, batch_size: int, limit: int):
        """`limit`: frames of a piece, at most."""
        self.pieces, self.batch_size, self.limit, self._done = pieces, batch_size, limit, 0

    @property
    def _in_batches(self) -> bool:
        return self.pieces > self.batch_size

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            total, unit = (self.pieces, "pieces") if self._in_batches else (self.limit, "frames")
            left = [TextColumn("done,"), TimeRemainingColumn(), TextColumn("left")] if self._in_batches else []
            where = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)]
            self.open(total, [*where, TimeElapsedColumn(), *left])
        return self

    def step(self, frame: int) -> None:
        """`frame` frames of the present batch are there."""
        last = min(self._done + self.batch_size, self.pieces)
        where = f"[{self._done + 1}–{last} of {self.pieces}]"
        if self._in_batches:
            self.update(self._done, description=f"{where} frame {frame}", refresh=frame == 1)
        else:
            self.update(frame, description=where, refresh=frame == 1)

    def done(self) -> None:
        """One more piece is there."""
        self._done += 1
        if self._in_batches:
            self.update(self._done)


def write_all(
    parts: Iterable[Part], jobs: list[tuple[str, str, Path]], output: Path, settings: Settings, progress: Progress
) -> None:
    """Write each text (its name, itself, its file) as it is spoken; one that cannot be written does not stop the rest.

    Raises `VocolabError` at the end where any could not be written, and at once where speaking itself fails.
    """
    errors: list[VocolabError] = []
    begun = 0
    for number, spoken in groupby(parts, key=lambda part: part.passage):
        begun += 1
        name, _, target = jobs[number]
        try:
            line = _write(name, target, spoken, settings, progress)
        except VocolabError as error:
            if len(jobs) == 1:
                raise
            errors.append(error)
            progress.say(f"{name}: {error}")
            for _ in spoken:  # noqa: B031 (what is left of this text: the next one begins behind it)
                progress.done()
            continue
        progress.say(f"[{number + 1}/{len(jobs)}] {line}")
    if errors and begun < len(jobs):
        raise errors[-1]  # it came from speaking, which has ended with it
    if errors:
        raise VocolabError(f"{len(errors)} of {len(jobs)} texts failed", output, "see the lines above")


def _write(name: str, target: Path, parts: Iterator[Part], settings: Settings, progress: Progress) -> str:
    """Write a text piece by piece; returns what is to be said of it."""
    from vocolab import audio

    whole, said = Tally(), []
    with audio.growing(target, settings.sample_rate, settings.overwrite) as add:
        for part in parts:
            start = whole.samples / settings.sample_rate
            add(part.wav)
            whole.add_part(part)
            said.append(part.piece.text)
            progress.done()
            if settings.by_piece:
                _tell(name, target, part, start, settings, progress)
    if not settings.by_piece:
        settings.print(whole.figures(settings.sample_rate) | {"pieces": whole.pieces, "text": " ".join(said)}, target)
    return f"{name} -> {target}, {whole.told(settings.sample_rate)}"


def _tell(name: str, target: Path, part: Part, start: float, settings: Settings, progress: Progress) -> None:
    """Tell of a piece that begins `start` seconds after its text."""
    one = Tally()
    one.add_part(part)
    about = {"piece": part.number, "pieces": part.of, "start": round(start, 3), "text": part.piece.text}
    settings.print(one.figures(settings.sample_rate) | about, target)
    again = f", said {part.attempts} times" if part.attempts > 1 else ""
    line = f"{name}, piece {part.number} of {part.of} at {start:.1f} s: {one.told(settings.sample_rate)}{again}"
    progress.say(f"{line}: {shortened(part.piece.text)!r}")


def shortened(text: str, length: int = 40) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
