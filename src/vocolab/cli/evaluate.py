"""Say how good speech is: figures with their 95 % intervals over utterances, in a table, in files and on a page.

Results are written into a folder that is there only when all is done. The same command goes on with an evaluation that
was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vocolab.cli.progress import Files, say
from vocolab.cli.seeds import check_seed
from vocolab.errors import UsageError, VocolabError
from vocolab.files import local_path

if TYPE_CHECKING:
    from vocolab.evaluation import Subject
    from vocolab.evaluation.rows import Row
    from vocolab.metrics.voices import SpeakerEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--generated", metavar="DIR", type=local_path, help="speech to judge, STEM.wav (or .flac, .opus, …)")
    add("--reference", metavar="DIR", type=local_path, help="recordings of the same words by the same stems")
    add("--common", action="store_true", help="leave out files without a partner")
    add("-o", "--output", metavar="DIR", type=local_path, help="folder for results.json and results.csv")
    add("--metrics", metavar="NAME", nargs="+", default=[], help="what to measure (default: all that can be had)")
    add(
        "--recogniser",
        metavar="MODEL",
        default="",
        help="Whisper for wer and cer: a folder of faster-whisper's layout, or a name in the Hugging Face cache "
        "(default: tiny.en)",
    )
    add(
        "--speaker-encoder",
        metavar="CLASS",
        help="a SpeakerEncoder of your own, package.module.Class; see --import (default: Resemblyzer)",
    )
    add("--against", metavar="FILE", type=local_path, help="another results.json: say what differs")
    add("--seed", metavar="N", type=int, default=0, help="seed of the random numbers (default: 0)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--overwrite", action="store_true", help="replace existing results")


def run(args: argparse.Namespace) -> int:
    _check(args)

    from vocolab.cli.devices import usable_device
    from vocolab.evaluation import evaluate
    from vocolab.evaluation.choice import all_metrics, choose
    from vocolab.evaluation.figures import read_results
    from vocolab.evaluation.results import lines_of, unmeasured_lines
    from vocolab.evaluation.rows import check_folder

    check_folder(args.output, args.overwrite)
    other = (args.against, read_results(args.against)) if args.against else None
    device = usable_device(args.device)
    subject = _subject(args)
    known = all_metrics(subject.voices, args.recogniser, _speaker_encoder(args.speaker_encoder), device)
    metrics, left_out = choose(args.metrics, known)
    for line in [*subject.notes, *(f"{name} is left out: {why}" for name, why in left_out.items())]:
        say(line)
    with Files(len(subject.samples)) as progress:
        results = evaluate(
            subject, metrics, args.output, args.overwrite, args.seed, other, left_out, lambda row: _end(progress, row)
        )
    for line in unmeasured_lines(results):
        say(line)
    print("\n".join(lines_of(results)))
    print(args.output)
    if failed := results["failed"]:
        what = f"{len(failed)} of {len(subject.samples)} utterances are not in the figures"
        raise VocolabError(what, args.output, "see the lines above")
    return 0


def _speaker_encoder(name: str | None) -> SpeakerEncoder | None:
    from vocolab.metrics.voices import SpeakerEncoder
    from vocolab.parts import build

    return None if name is None else build({"class_path": name}, SpeakerEncoder)


def _end(progress: Files, row: Row) -> None:
    if row.failed:
        progress.end(f"{row.key}: {row.failed}")
    else:
        progress.end(f"{row.key}: {row.seconds or 0:.1f} s of speech" + (f"; {row.note}" if row.note else ""))


def _check(args: argparse.Namespace) -> None:
    if args.output is None:
        raise UsageError("no output", "command line", "say where with -o DIR")
    if args.generated is None or args.reference is None:
        raise UsageError("nothing to evaluate", "command line", "give --generated DIR and --reference DIR")
    check_seed(args.seed)


def _subject(args: argparse.Namespace) -> Subject:
    from vocolab.evaluation import folder_pairs

    return folder_pairs(Path(args.generated), Path(args.reference), args.common)
