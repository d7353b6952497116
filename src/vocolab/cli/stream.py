"""`synthesize --stream`: speech that is written while it is spoken, to a file or to standard output."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vocolab.cli.progress import say
from vocolab.cli.spoken import Tally
from vocolab.errors import UsageError, VocolabError
from vocolab.files import cannot_write

if TYPE_CHECKING:
    from torch import Tensor

    from vocolab.audio import PipedWav
    from vocolab.lm import Sampling
    from vocolab.pipelines import TTS, Prompt
    from vocolab.pipelines.passages import Passage

STDOUT = Path("-")


def check(args: argparse.Namespace) -> None:
    """Refuse arguments that do not go with a stream, or only with one."""
    if not args.stream:
        if args.output == STDOUT:
            raise UsageError("standard output takes a stream alone", "-o -", "add --stream, or give OUT.wav")
        for name in ("block", "lookahead"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} without --stream", "command line", "add --stream, or leave it out")
        return
    if args.text_file is not None and not args.join:
        raise UsageError("--stream says one text", args.text_file, "add --join, which makes one of all its lines")
    for flag, given in (("--speed", args.speed != 1.0), ("--retries", args.retries is not None)):
        if given:
            raise UsageError(f"{flag} does not go with --stream", "command line", "leave one of them out")
    if args.output == STDOUT and sys.stdout.isatty():
        raise UsageError("standard output is a terminal", "-o -", "pipe it into a player, or give OUT.wav")


def write(
    tts: TTS, passage: Passage, target: Path, prompt: Prompt, sampling: Sampling, args: argparse.Namespace
) -> None:
    """Say a text and write it chunk by chunk."""
    from vocolab.pipelines import spoken_stream

    began = time.perf_counter()
    given = {name: value for name in ("block", "lookahead") if (value := getattr(args, name)) is not None}
    chunks = spoken_stream.say(
        tts, passage, prompt, sampling, args.language, args.seed, args.amp, pause=args.pause, **given
    )
    said, first = Tally(), None
    with _opened(target, tts.sample_rate, args.overwrite) as add:
        for chunk in chunks:
            add(chunk.wav)
            said.add(chunk.wav, chunk.codes)
            if said.samples and first is None:
                first = time.perf_counter() - began
            if chunk.last:
                said.end(chunk.stopped, chunk.passes)
    assert first is not None
    said.computing = time.perf_counter() - began
    where = "standard output" if target == STDOUT else target
    say(f"{passage.name} -> {where}, {said.told(tts.sample_rate, first)}")
    if args.json:  # beside speech on standard output, figures go to standard error
        figures = said.figures(tts.sample_rate) | {"first_sound": round(first, 3), "pieces": said.pieces}
        figures |= {"path": str(target), "sampling": dataclasses.asdict(sampling)}
        print(json.dumps(figures), file=sys.stderr if target == STDOUT else sys.stdout, flush=True)


@contextmanager
def _opened(target: Path, sample_rate: int, overwrite: bool) -> Iterator[Callable[[Tensor], None]]:
    """What takes the next samples (T,): of a file that has its name once it is whole, or of standard output."""
    from vocolab import audio

    if target != STDOUT:
        with audio.growing(target, sample_rate, overwrite) as add:
            yield add
        return
    # Unbuffered: a chunk is to be heard at once, and nothing may be left to be written when the reader has gone.
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as pipe:
        yield _Piped(pipe, sample_rate).add


class _Piped:
    """Speech on standard output. Raises `VocolabError` where it cannot be written."""

    def __init__(self, pipe: io.RawIOBase, sample_rate: int):
        self.pipe, self.sample_rate, self.samples = pipe, sample_rate, 0
        self.wav: PipedWav | None = None  # nothing is written before there is speech

    def add(self, wav: Tensor) -> None:
        from vocolab import audio

        with self._checked():
            self.wav = self.wav or audio.PipedWav(self.pipe, self.sample_rate)
            self.wav.add(wav)
        self.samples += len(wav)

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError as error:
            what = f"the reader went away after {self.samples / self.sample_rate:.1f} s of speech"
            raise VocolabError(what, "standard output", "let it read to the end") from error
        except OSError as error:
            raise cannot_write(error, Path("standard output")) or error from error
