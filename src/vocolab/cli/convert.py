"""Say speech in the voice of a reference.

Each frame is replaced by the mean of the nearest frames in the reference, and a vocoder makes speech of them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vocolab.cli.outputs import check_is_wav, check_output, identities
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
        required=True,
        help="a vocoder's checkpoint, or an official g_*.pt; also by URL, or by its name in kNN-VC's release",
    )
    add(
        "--encoder",
        metavar="PATH",
        type=lambda text: str(model_path(text)),  # a str, since it may name a model of the hub
        help="the encoder's weights, where the checkpoint names none or they lie elsewhere",
    )
    add("-o", "--output", metavar="OUT", type=local_path, help="OUT.wav for one file, else a folder of STEM.wav")
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
        type=_loudness,
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
    add("--seed", metavar="N", type=int, default=0, help="seed of the random numbers, if a part draws any (default: 0)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--overwrite", action="store_true", help="replace existing outputs")


def _loudness(text: str) -> float | None:
    if text == "none":
        return None
    level = float(text)
    if not math.isfinite(level):
        raise argparse.ArgumentTypeError(f"{text!r} is no loudness")
    return level


def run(args: argparse.Namespace) -> int:
    _check(args)
    check_seed(args.seed)
    from vocolab import audio

    references = audio.find(args.ref)
    jobs = plan(args.sources, args.output, args.overwrite, references)

    import torch

    from vocolab.cli.devices import usable_device
    from vocolab.pipelines import KNNVC

    torch.manual_seed(args.seed)
    vc = KNNVC.from_checkpoint(
        args.checkpoint,
        args.encoder,
        usable_device(args.device),
        topk=args.topk,
        matching_layer=args.matching_layer,
        synthesis_layer=args.synthesis_layer,
    )
    voice = _voice(vc, references, args)
    return _convert_all(vc, voice, jobs, args)


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
        check_is_wav(args.output)
    if bool(args.ref) == bool(args.voice):
        raise UsageError("one voice is needed", "command line", "give either --ref PATH or --voice FILE")
    if args.topk is not None and args.topk < 1:
        raise UsageError(f"--topk is {args.topk}", "command line", "give at least 1")
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


def plan(
    sources: Sequence[Path], output: Path | None, overwrite: bool, references: Sequence[Path] = ()
) -> list[tuple[Path, Path]]:
    """(source, output) of each file. Raises `VocolabError` where an output exists or is a reference, or two sources
    would be written to the same one.
    """
    from vocolab import audio

    if not sources:
        return []
    assert output is not None  # `_check` refuses sources without it
    files = audio.find(sources)
    named = output.suffix.lower() == ".wav" and not output.is_dir()  # the output is one file
    single = named and len(sources) == 1 and sources[0].is_file()
    if named and not single:
        raise UsageError(f"{len(files)} files do not fit in one", output, "give a folder with -o")
    taken: dict[Path, Path] = {}
    heard = identities(references)
    for file in files:
        target = output if single else output / f"{file.stem}.wav"
        if target in taken:
            raise VocolabError(f"{taken[target]} and {file} would both become it", target, "convert them separately")
        if target.exists() and target.samefile(file):
            raise VocolabError("the output is the source", target, "choose another -o")
        check_output(target, overwrite, heard)
        taken[target] = file
    return [(file, target) for target, file in taken.items()]


def _voice(vc: KNNVC, references: list[Path], args: argparse.Namespace) -> Voice:
    from vocolab.cli.voice import load_voice, save_voice

    if args.voice:
        return load_voice(args.voice, vc)
    start = time.perf_counter()
    voice = vc.get_voice(references, args.vad_trim)
    frames = len(voice.matching)
    _say(f"voice: {frames} frames of {len(references)} files, {time.perf_counter() - start:.1f} s")
    if args.save_voice:
        save_voice(args.save_voice, voice, vc)
        _say(f"voice: {args.save_voice}")
    return voice


def _convert_all(vc: KNNVC, voice: Voice, jobs: list[tuple[Path, Path]], args: argparse.Namespace) -> int:
    """Convert one file after the other. Where there are several, one that fails does not stop the rest."""
    failed = 0
    for number, (source, target) in enumerate(jobs, 1):
        start = time.perf_counter()
        try:
            note = _convert(vc, voice, source, target, args)
        except VocolabError as error:
            if len(jobs) == 1:
                raise
            failed += 1
            _say(f"[{number}/{len(jobs)}] {error}")
        else:
            took = f"{time.perf_counter() - start:.1f} s"
            _say(f"[{number}/{len(jobs)}] {source} -> {target}, {took}" + (f"; loudness: {note}" if note else ""))
    if failed:
        raise VocolabError(f"{failed} of {len(jobs)} files failed", args.output, "see the lines above")
    return 0


def _convert(vc: KNNVC, voice: Voice, source: Path, target: Path, args: argparse.Namespace) -> str:
    """Convert one file. Returns why it is not as loud as was asked for; "" if it is."""
    from vocolab import audio

    level = vc.convert(source, voice, args.topk, args.loudness, args.target_duration)
    audio.write(target, level.wav, vc.sample_rate, overwrite=args.overwrite)
    return level.note


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
