"""Say text in the voice of a reference.

A language model continues a few seconds of the reference with codes for the text, and its codec makes speech of them.
The same seed gives the same speech.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vocolab.cli.outputs import check_is_wav, check_output, identities
from vocolab.cli.progress import Display, say
from vocolab.cli.seeds import check_seed
from vocolab.errors import UsageError, VocolabError
from vocolab.files import local_path, read_lines

if TYPE_CHECKING:
    from vocolab.lm import Sampling
    from vocolab.pipelines import TTS, Prompt, Spoken

# The fields of `vocolab.lm.Sampling` as flags: type and help. The help repeats the defaults of the class, which takes
# too long to import for a help text.
SAMPLING: dict[str, tuple[type, str]] = {
    "ar_temp": (float, "temperature of the first codebook; 0: always the likeliest (default: 0.95)"),
    "nar_temp": (float, "temperature of the other codebooks (default: 0.2)"),
    "min_ar_temp": (
        float,
        "0 or more: vary the temperature from this, where the model is sure, to --ar-temp (default: off)",
    ),
    "min_nar_temp": (float, "the same for the other codebooks (default: off)"),
    "top_k": (int, "sample among the N likeliest (default: 0, all)"),
    "top_p": (float, "sample among the likeliest codes whose probabilities sum up to X (default: 1, all)"),
    "repetition_penalty": (float, "above 1: make codes that were said less likely (default: 1)"),
    "repetition_penalty_decay": (float, "above 0: penalise codes less, the longer ago they were said (default: 0)"),
    "length_penalty": (float, "above 0 lengthens, below 0 shortens (default: 0)"),
    "beam_width": (int, "beam search over N sequences instead of sampling; 0 and 1: none (default: 0)"),
    "best_of": (int, "decode N responses together and keep the one the model holds likeliest (default: 1)"),
    "mirostat_tau": (float, "keep the surprise at X bits (Mirostat; default: 0, off)"),
    "mirostat_eta": (float, "Mirostat's learning rate (default: 0.1)"),
    "repetition_window": (int, "sample a code again that fills too much of the last N (VALL-E 2; default: 0, off)"),
    "repetition_ratio": (float, "the share of --repetition-window that is too much (default: 0.1)"),
    "draft": (str, "medusa: guess frames ahead with heads that the model has; the same speech in less time"),
    "max_ar_steps": (int, "frames after which a response is cut (default: 900)"),
    "max_ar_context": (
        int,
        "last frames that one sees; for models trained with a window, at most that (default: 0, as trained)",
    ),
    "max_nar_levels": (int, "codebooks after the first (default: 7)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("text", metavar="TEXT", nargs="?", help="what to say")
    add("--text-file", metavar="F", type=local_path, help="texts to say, one a line; blank lines are skipped")
    add("--ref", metavar="PATH", nargs="+", type=local_path, default=[], help="speech of the voice: files or folders")
    add("--ref-text", metavar="TEXT", help="what the references say; needed by models trained with prompt: prefix")
    add(
        "--checkpoint",
        metavar="CKPT",
        type=local_path,
        required=True,
        help="a language model's checkpoint, or an export of it",
    )
    add(
        "--codec",
        metavar="PATH",
        type=local_path,
        help="the codec's weights, or the vocoder that the codec lacks, where CKPT holds none",
    )
    add("-o", "--output", metavar="OUT", type=local_path, help="OUT.wav, or a folder of 0001.wav …, numbered by line")
    add("--language", metavar="L", help="language of the text (default: the model's, if it has only one)")
    add(
        "--input-prompt-length",
        metavar="S",
        type=float,
        help="seconds of the references to use, each from where its speech begins (default: as trained)",
    )
    group = parser.add_argument_group(
        "sampling", "A model states what suits it (see --checkpoint CKPT --help); the defaults below are for the rest."
    )
    for name, (kind, text) in SAMPLING.items():
        group.add_argument(_flag(name), metavar={int: "N", float: "X", str: "NAME"}[kind], type=kind, help=text)
    add("--batch-size", metavar="N", type=int, default=8, help="texts decoded together (default: 8)")
    add("--seed", metavar="N", type=int, default=0, help="the same seed gives the same speech (default: 0)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--dtype", help="type of the model's weights: float32, bfloat16 or float16 (default: float32)")
    add("--amp", action="store_true", help="compute in bfloat16 where that is safe")
    add(
        "--json",
        action="store_true",
        help="print a line for each text: frames, stopped, seconds, tokens_per_s, passes, path, sampling",
    )
    add("--overwrite", action="store_true", help="replace existing outputs")


def epilog(arguments: Sequence[str]) -> str | None:
    """What the help says of the model that the command line names with --checkpoint: how it is sampled by default."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--checkpoint", type=local_path)
    path = flags.parse_known_args(arguments)[0].checkpoint
    if path is None:
        return None

    from vocolab.checkpoints import lm_card, read_checkpoint, stated_sampling

    stated = stated_sampling(lm_card(read_checkpoint(path), path), path)
    settings = " ".join(f"{_flag(name)} {getattr(stated, name)}" for name in SAMPLING)
    return f"sampling of {path}: {settings}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def run(args: argparse.Namespace) -> int:
    _check(args)
    texts = _texts(args)

    from vocolab import audio

    references = audio.find(args.ref)
    jobs = plan(texts, args.output, args.overwrite, references)

    from vocolab.cli.devices import usable_device
    from vocolab.pipelines import TTS

    given = {name: value for name in SAMPLING if (value := getattr(args, name)) is not None}
    tts = TTS.from_checkpoint(args.checkpoint, usable_device(args.device), args.dtype, args.codec)
    sampling = tts.sampling(**given)
    tts.lm.check_context(sampling.max_ar_context)
    ids = tts.read([text for _, text, _ in jobs], args.language, [name for name, _, _ in jobs], args.ref_text)
    _say_unknown(tts)
    prompt = tts.get_prompt(references, args.input_prompt_length, args.ref_text)
    say(_heard(prompt, references))
    progress = Progress([name for name, _, _ in jobs], args.batch_size, sampling.max_ar_steps)
    spoken = tts.speak(
        ids, prompt, sampling, args.language, args.seed, args.batch_size, args.amp, on_step=progress.step
    )
    with progress:
        return _write_all(tts, spoken, jobs, args, progress, sampling)


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong arguments before anything is read or computed."""
    if args.text is None and args.text_file is None and args.ref and not os.path.exists(args.ref[-1]):
        # An option of several paths takes every word that follows it.
        what = f"no text: --ref took {str(args.ref[-1])!r}, which is no file"
        raise UsageError(what, "command line", "give TEXT before --ref, or --text-file F")
    if (args.text is None) == (args.text_file is None):
        raise UsageError("one text is needed", "command line", "give either TEXT or --text-file F")
    if args.output is None:
        raise UsageError("no output", "command line", "say where with -o OUT.wav or -o FOLDER")
    check_is_wav(args.output)
    if not args.ref:
        raise UsageError("no reference speech", "command line", "say with --ref PATH whose voice is to speak")
    if args.batch_size < 1:
        raise UsageError(f"--batch-size is {args.batch_size}", "command line", "give at least 1")
    check_seed(args.seed)
    for path, flag in ((args.checkpoint, "--checkpoint"), (args.text_file, "--text-file"), (args.codec, "--codec")):
        if path is not None and not path.exists():
            raise VocolabError("no such file", path, f"correct {flag}")


def _texts(args: argparse.Namespace) -> list[tuple[int, str, str]]:
    """(line, what to call it, text) of each text."""
    if args.text_file is None:
        return [(1, "TEXT", args.text)]
    lines = read_lines(args.text_file)
    found = [(n, f"{args.text_file}:{n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise VocolabError("empty text", args.text_file, "give something to say, a line for each text")
    return found


def plan(
    texts: Sequence[tuple[int, str, str]], output: Path, overwrite: bool, references: Sequence[Path] = ()
) -> list[tuple[str, str, Path]]:
    """(name, text, file to write) of each text. Raises `VocolabError` where a file exists, or is a reference."""
    single = output.suffix.lower() == ".wav" and not output.is_dir()
    if single and len(texts) > 1:
        raise UsageError(f"{len(texts)} texts do not fit in one", output, "give a folder with -o")
    if not single and output.exists() and not output.is_dir():
        raise UsageError("the output is a file that is no .wav", output, "give OUT.wav or a folder")
    width = max(4, len(str(texts[-1][0])))
    jobs = [(name, text, output if single else output / f"{n:0{width}d}.wav") for n, name, text in texts]
    heard = identities(references)
    for _, _, target in jobs:
        check_output(target, overwrite, heard)
    return jobs


def _say_unknown(tts: TTS) -> None:
    """Name the symbols of the texts that the training never saw."""
    for found, what in ((tts.symbols.left_out, "left out"), (tts.symbols.unknown, "spoken as <unk>")):
        if found:
            counts = ", ".join(f"{symbol!r} × {count}" for symbol, count in found.most_common(10))
            say(f"symbols the model never saw, {what}: {counts}")


def _heard(prompt: Prompt, references: Sequence[Path]) -> str:
    """A line that names the stretches of the references that are the prompt."""
    parts = [f"{e.used:.1f} of {e.seconds:.1f} s of {e.path}" for e in prompt.excerpts]
    left = len(references) - len(parts)
    return "voice: " + ", ".join(parts) + (f"; {left} further files are not needed" if left else "")


def _write_all(
    tts: TTS,
    spoken: Iterable[Spoken],
    jobs: list[tuple[str, str, Path]],
    args: argparse.Namespace,
    progress: Progress,
    sampling: Sampling,
) -> int:
    """Write each text as it is done; one that fails does not stop the rest."""
    from vocolab import audio

    failed = 0
    for (name, _, target), one in zip(jobs, spoken, strict=True):
        try:
            audio.write(target, one.wav, tts.sample_rate, overwrite=args.overwrite)
        except VocolabError as error:
            if len(jobs) == 1:
                raise
            failed += 1
            progress.say(f"{name}: {error}")
            continue
        progress.done(name, target, one)
        if args.json:
            figures = {
                "frames": one.frames,
                "stopped": one.stopped,
                "seconds": round(one.seconds, 3),
                "tokens_per_s": round(one.tokens_per_s, 1),
                "passes": one.passes,
                "path": str(target),
                "sampling": dataclasses.asdict(sampling),
            }
            print(json.dumps(figures), flush=True)
    if failed:
        raise VocolabError(f"{failed} of {len(jobs)} texts failed", args.output, "see the lines above")
    return 0


class Progress(Display):
    """A bar of frames on a terminal; else a line for each text as it is done."""

    def __init__(self, names: Sequence[str], batch_size: int, limit: int):
        self.names, self.batch_size, self.limit = names, batch_size, limit
        self._batch, self._done, self._frame = 0, 0, 0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

            where = TextColumn("{task.description}")
            self.open(self.limit, [where, BarColumn(), MofNCompleteColumn(), TextColumn("frames"), TimeElapsedColumn()])
        return self

    def step(self, frame: int) -> None:
        """`frame` frames of the present batch are done; the count begins anew with every batch."""
        if frame <= self._frame:
            self._batch += 1
        first = self._batch * self.batch_size
        last = min(first + self.batch_size, len(self.names))
        self.update(frame, description=f"[{first + 1}–{last} of {len(self.names)}]", refresh=frame == 1)
        self._frame = frame

    def done(self, name: str, target: Path, spoken: Spoken) -> None:
        self._done += 1
        what = f"{spoken.frames} frames, {spoken.seconds:.1f} s"
        if not spoken.stopped:
            what += f"; it did not stop by itself and was cut after {spoken.frames} frames: see --max-ar-steps, --seed"
        self.say(f"[{self._done}/{len(self.names)}] {name} -> {target}, {what}")
