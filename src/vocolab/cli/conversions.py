"""The files of a `convert` command: which becomes which, and the work on one of them."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vocolab.cli.outputs import check_folder, check_output, identities
from vocolab.errors import UsageError, VocolabError, memory_told

if TYPE_CHECKING:
    from vocolab.audio import Level
    from vocolab.pipelines import KNNVC, Voice

WRITTEN = (".wav", ".flac", ".opus")  # what `audio.write` writes


@dataclass(frozen=True)
class Job:
    """One file to convert."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Done:
    """What became of it."""

    seconds: float  # of speech written
    took: float  # s
    gain: float  # dB
    note: str  # why it is not as loud as was asked for; empty where it is


def plan(
    sources: Sequence[Path],
    output: Path | None,
    overwrite: bool,
    references: Sequence[Path] = (),
    format: str | None = None,
) -> list[Job]:
    """The jobs of a command. Raises `VocolabError` where an output exists, is a reference or cannot be written, or two
    sources would be written to the same one.

    Files of a source folder that lie in an output folder inside it are earlier outputs: they are left out.
    """
    if not sources:
        return []
    assert output is not None  # the command line is checked before
    files = [file for source in sources for file in _sources(source, output)]
    named = output.suffix.lower() in WRITTEN and not output.is_dir()  # the output is one file
    single = named and len(sources) == 1 and sources[0].is_file()
    if named and not single:
        raise UsageError(f"{len(files)} files do not fit in one", output, "give a folder with -o")
    check_folder(output.parent if single else output)
    taken: dict[Path, Path] = {}
    heard = identities(references)
    for file in files:
        target = output if single else output / f"{file.stem}.{format or 'wav'}"
        if target in taken:
            raise VocolabError(f"{taken[target]} and {file} would both become it", target, "convert them separately")
        if target.exists() and target.samefile(file):
            raise VocolabError("the output is the source", target, "choose another -o")
        check_output(target, overwrite, heard)
        taken[target] = file
    return [Job(file, target) for target, file in taken.items()]


def _sources(source: Path, output: Path) -> list[Path]:
    from vocolab import audio

    found, inner = audio.find(source), output.resolve()
    if source.resolve() not in inner.parents:
        return found
    kept = [file for file in found if inner not in file.resolve().parents]
    if not kept:
        raise VocolabError("no sound files in folder", source, f"those in {output} are taken for earlier outputs")
    return kept


def convert(vc: KNNVC, voice: Voice, job: Job, args: argparse.Namespace) -> Done:
    """Convert one file and write it. Raises `VocolabError` where it cannot be, or memory does not suffice."""
    import torch

    start = time.perf_counter()
    torch.manual_seed(args.seed)  # for each file, so that its bytes do not depend on those before it
    with memory_told("give fewer --workers, less reference (--max-pool-frames) or a shorter file", job.source):
        seconds, level = _convert(vc, voice, job, args)
    return Done(seconds, time.perf_counter() - start, level.gain, level.note)


def _convert(vc: KNNVC, voice: Voice, job: Job, args: argparse.Namespace) -> tuple[float, Level]:
    """The seconds of speech that were written, and their level."""
    from vocolab import audio

    rate = audio.info(job.source).sample_rate if args.keep_rate else None
    level = vc.convert(job.source, voice, args.topk, args.loudness, args.target_duration, silence=args.silence)
    audio.write(job.target, level.wav, vc.sample_rate, args.overwrite, rate)
    return len(level.wav) / vc.sample_rate, level


def line(job: Job, done: Done) -> str:
    """What is said of a file that was converted."""
    text = f"{job.source} -> {job.target}, {done.seconds:.1f} s of speech in {done.took:.1f} s"
    return f"{text}; loudness: {done.note}" if done.note else text


def summary(files: int, done: Sequence[Done], failed: int, took: float) -> str:
    """What is said at the end of several."""
    seconds = sum(one.seconds for one in done)
    text = f"{len(done)} of {files} files, {seconds:.1f} s of speech in {took:.1f} s"
    if seconds:
        text += f", real-time factor {took / seconds:.3f}"
    return f"{text}; {failed} failed" if failed else text


def as_json(job: Job, outcome: Done | VocolabError) -> str:
    """The line of `--json` for a file."""
    fields: dict[str, object] = {"source": str(job.source)}
    if isinstance(outcome, VocolabError):
        return json.dumps(fields | {"error": str(outcome)})
    gain = round(outcome.gain, 2) if math.isfinite(outcome.gain) else None
    figures = {"seconds": round(outcome.seconds, 3), "took": round(outcome.took, 3), "gain": gain, "note": outcome.note}
    return json.dumps(fields | {"path": str(job.target)} | figures)
