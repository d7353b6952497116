"""Say speech in the voice of a reference.

Each frame is replaced by the mean of the nearest frames in the reference, and a vocoder makes speech of them.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vocolab.cli.conversions import WRITTEN, Done, Job, as_json, convert, line, plan, summary
from vocolab.cli.outputs import OTHER_FORMATS, clear_leftovers
from vocolab.cli.progress import Files, say
from vocolab.cli.seeds import check_seed
from vocolab.errors import UsageError, VocolabError
from vocolab.files import check_absent, local_path
from vocolab.remote import model_path, url_of

if TYPE_CHECKING:
    from vocolab.pipelines import KNNVC, Voice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "sources",
        metavar="SRC",
        nargs="*",
        type=local_path,
        help="speech to convert: files or folders, any rate and format",
    )
    add(
        "--ref",
        metavar="PATH",
        nargs="+",
        type=local_path,
        default=[],
        help="speech of the voice wanted: files or folders",
    )
    add("--voice", metavar="FILE", type=local_path, help="a voice written by --save-voice, instead of --ref")
    add(
        "--save-voice", metavar="FILE", type=local_path, help="keep the reference's features (.safetensors) for --voice"
    )
    add(
        "--checkpoint",
        metavar="CKPT",
        type=model_path,
        help="a vocoder's checkpoint, or an official g_*.pt; also by URL, or by its name in kNN-VC's release "
        "(default: the converter in the package)",
    )
    add(
        "--encoder",
        metavar="PATH",
        type=lambda text: str(model_path(text)),  # a str, since it may name a model of the hub
        help="the encoder's weights, where the checkpoint names none or they lie elsewhere",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        type=local_path,
        help="OUT.wav (.flac, .opus) for one file, else a folder of STEM.wav",
    )
    add(
        "--topk",
        metavar="K",
        type=int,
        help="reference frames averaged into each frame (default: as trained, usually 4)",
    )
    add("--matching-layer", metavar="N", type=int, help="encoder layer whose frames are compared (default: as trained)")
    add("--synthesis-layer", metavar="N", type=int, help="encoder layer whose frames are vocoded (default: as trained)")
    add("--target-duration", metavar="S", type=float, help="stretch or squeeze each source to S seconds")
    add(
        "--loudness",
        metavar="LKFS",
        type=_level,
        default=-16.0,
        help="loudness of the result; none: leave it as it is (default: -16)",
    )
    add(
        "--vad-trim",
        metavar="LEVEL",
        type=float,
        nargs="?",
        const=7.0,
        default=7.0,
        help="trim silence off the ends of references; 0: leave it (default: 7)",
    )
    add(
        "--silence",
        metavar="DB",
        type=_level,
        default=-60.0,
        help="long pauses of the source below this level become silent; none: leave them (default: -60)",
    )
    add(
        "--max-pool-frames",
        metavar="N",
        type=int,
        help="of a longer reference, use N frames (50 are a second) chosen at random by --seed",
    )
    add("--format", choices=[suffix[1:] for suffix in WRITTEN], help="of the files in a folder OUT (default: wav)")
    add("--keep-rate", action="store_true", help="write each file at its source's sample rate")
    add(
        "--workers",
        metavar="N",
        type=int,
        help="convert N files at once, each in a process of one thread (default: one after the other, all threads)",
    )
    add(
        "--json", action="store_true", help="print source, path, seconds, took, gain and note (or error), a line a file"
    )
    add("--seed", metavar="N", type=int, default=0, help="seed of the random numbers (default: 0)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--overwrite", action="store_true", help="replace existing outputs")


def _level(text: str) -> float | None:
    if text == "none":
        return None
    level = float(text)
    if not math.isfinite(level):
        raise argparse.ArgumentTypeError(f"{text!r} is no level in dB")
    return level


def run(args: argparse.Namespace) -> int:
    _check(args)
    check_seed(args.seed)
    from vocolab import audio

    references = audio.find(args.ref)
    jobs = plan(args.sources, args.output, args.overwrite, references, args.format)

    from vocolab.cli.devices import usable_device

    device = usable_device(args.device)
    if args.workers and device != "cpu":
        raise UsageError(f"--workers {args.workers} on {device}", "command line", "add --device cpu, or leave it out")
    vc = load(args, device)
    voice = _voice(vc, references, args)
    clear_leftovers(job.target.parent for job in jobs)
    return _convert_all(vc, voice, jobs, args)


def load(args: argparse.Namespace, device: str) -> KNNVC:
    """The converter of a command line."""
    from vocolab.pipelines import KNNVC

    arguments = {
        "encoder": args.encoder,
        "device": device,
        "topk": args.topk,
        "matching_layer": args.matching_layer,
        "synthesis_layer": args.synthesis_layer,
    }
    if args.checkpoint is None:
        return KNNVC.pretrained(**arguments)
    return KNNVC.from_checkpoint(args.checkpoint, **arguments)


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong arguments before anything is read or computed."""
    if not args.sources and (args.output or not args.save_voice):
        remedy = "name files or folders of speech"
        if len(args.ref) > 1:  # an option of several paths takes every one that follows it
            remedy += f" before --ref, which took all {len(args.ref)} paths after it"
        raise UsageError("nothing to convert", "command line", remedy)
    if args.sources and args.output is None:
        raise UsageError("no output", "command line", "say where with -o OUT.wav or -o FOLDER")
    if args.output:
        _check_format(args.output, args.format)
    if bool(args.ref) == bool(args.voice):
        raise UsageError("one voice is needed", "command line", "give either --ref PATH or --voice FILE")
    if args.topk is not None and args.topk < 1:
        raise UsageError(f"--topk is {args.topk}", "command line", "give at least 1")
    for flag, number in (("--max-pool-frames", args.max_pool_frames), ("--workers", args.workers)):
        if number is not None and number < 1:
            raise UsageError(f"{flag} is {number}", "command line", "give at least 1")
    if args.voice and args.save_voice:
        raise UsageError("a voice to save needs --ref", "--save-voice", "leave out --voice")
    if args.target_duration is not None and not 0 < args.target_duration < math.inf:
        raise UsageError(f"--target-duration is {args.target_duration}", "command line", "give seconds above 0")
    if args.vad_trim < 0:
        raise UsageError(f"--vad-trim is {args.vad_trim}", "command line", "give 0 or more")
    for path, flag in ((args.checkpoint, "--checkpoint"), (args.voice, "--voice")):
        if path is not None and not url_of(path) and not path.exists():
            raise VocolabError("no such file", path, f"correct {flag}")
    if args.save_voice:
        check_absent(args.save_voice, args.overwrite)


def _check_format(output: Path, format: str | None) -> None:
    """Raise `UsageError` where the output is the name of a file in a format that is not written, or another than asked
    for.
    """
    suffix = output.suffix.lower()
    if output.is_dir() or suffix not in (*WRITTEN, *OTHER_FORMATS):
        return
    if suffix not in WRITTEN:
        raise UsageError("only .wav, .flac and .opus are written", output, "give OUT.wav or a folder")
    if format and suffix != f".{format}":
        raise UsageError(f"--format {format} for a {suffix} file", output, "leave --format out, or give a folder")


def _voice(vc: KNNVC, references: list[Path], args: argparse.Namespace) -> Voice:
    from vocolab.cli.voice import load_voice, save_voice

    if args.voice:
        voice = load_voice(args.voice, vc)
        return voice if args.max_pool_frames is None else voice.chosen(args.max_pool_frames, args.seed)
    start = time.perf_counter()
    voice = vc.get_voice(references, args.vad_trim, max_frames=args.max_pool_frames, seed=args.seed)
    frames = len(voice.matching)
    say(f"voice: {frames} frames of {len(references)} files, {time.perf_counter() - start:.1f} s")
    if args.save_voice:
        save_voice(args.save_voice, voice, vc)
        say(f"voice: {args.save_voice}")
    return voice


def _convert_all(vc: KNNVC, voice: Voice, jobs: list[Job], args: argparse.Namespace) -> int:
    """Convert all files. Where there are several, one that fails does not stop the rest."""
    done: list[Done] = []
    failed, start = 0, time.perf_counter()
    try:
        with Files(len(jobs)) as files, closing(_outcomes(vc, voice, jobs, args)) as outcomes:
            for job, outcome in outcomes:
                if args.json:
                    print(as_json(job, outcome), flush=True)
                if isinstance(outcome, Done):
                    done.append(outcome)
                    files.end(line(job, outcome))
                elif len(jobs) == 1:
                    raise outcome
                else:
                    failed += 1
                    files.end(str(outcome))
    finally:  # also where the user interrupts it
        if len(jobs) > 1:
            say(summary(len(jobs), done, failed, time.perf_counter() - start))
    if failed:
        raise VocolabError(f"{failed} of {len(jobs)} files failed", args.output, "see the lines above")
    return 0


def _outcomes(
    vc: KNNVC, voice: Voice, jobs: list[Job], args: argparse.Namespace
) -> Generator[tuple[Job, Done | VocolabError], None, None]:
    """Each job with what became of it: in this process, or in as many as `--workers` says."""
    count = min(args.workers or 1, len(jobs))
    if count > 1:
        yield from _by_workers(count, vc, voice, jobs, args)
        return
    if args.workers:  # a single process computes as each of many does
        import torch

        torch.set_num_threads(1)
    for job in jobs:
        try:
            yield job, convert(vc, voice, job, args)
        except VocolabError as error:
            yield job, error


def _by_workers(
    count: int, vc: KNNVC, voice: Voice, jobs: list[Job], args: argparse.Namespace
) -> Generator[tuple[Job, Done | VocolabError], None, None]:
    from vocolab.cli.crew import Crew
    from vocolab.cli.voice import save_voice

    with tempfile.TemporaryDirectory(prefix="vocolab-convert-") as folder:
        path = Path(folder) / "voice.safetensors"
        save_voice(path, voice, vc, exact=True)
        yield from Crew(count, args, path).run(jobs)
