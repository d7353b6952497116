"""Say text in the voice of a reference.

A language model continues a few seconds of the reference with codes for the text, and its codec makes speech of them.
The same seed gives the same speech.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocolab.cli import stream, words
from vocolab.cli.outputs import check_is_wav, check_output, clear_leftovers, identities
from vocolab.cli.progress import say
from vocolab.cli.seeds import check_seed
from vocolab.cli.spoken import Progress, Settings, shortened, write_all
from vocolab.errors import UsageError, VocolabError
from vocolab.files import local_path, read_lines

if TYPE_CHECKING:
    from vocolab.pipelines import Prompt
    from vocolab.pipelines.passages import Passage

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
    "draft": (
        str,
        "medusa: guess frames ahead with the draft heads in CKPT, for the same speech in less time; or the file of "
        "draft heads that were trained for CKPT",
    ),
    "max_ar_steps": (int, "frames after which a response is cut (default: 900)"),
    "max_ar_context": (
        int,
        "last frames that one sees; for models trained with a window, at most that (default: 0, as trained)",
    ),
    "max_nar_levels": (int, "codebooks after the first (default: 7)"),
}

SPEED = "so many times as fast, 0.5 to 2, by stretching what the model said: the pitch stays (default: 1)"
PAUSE = "times the usual pauses between the pieces of a long text (default: 1)"
RETRIES = "other seeds for a piece of a long text that did not stop by itself (default: 2)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("text", metavar="TEXT", nargs="?", help="what to say")
    add("--text-file", metavar="F", type=local_path, help="texts to say, one a line; blank lines are skipped")
    add("--stream", action="store_true", help="write speech while it is made; -o - is standard output")
    add("--block", metavar="S", type=float, help="seconds of a stream decided together (default: 0.4)")
    add("--lookahead", metavar="S", type=float, help="seconds that a stream sees ahead of a block (default: 0.4)")
    add("--join", action="store_true", help="all of --text-file is one text and one speech, OUT.wav")
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
    add("--no-normalize", action="store_true", help="read the text as it stands, numbers and the like not put in words")
    add(
        "--input-prompt-length",
        metavar="S",
        type=float,
        help="seconds of the references to use, each from where its speech begins (default: as trained)",
    )
    group = parser.add_argument_group(
        "sampling", "A model states what suits it (see --checkpoint CKPT --help); the defaults below are for the rest."
    )
    add_sampling(group)
    add("--speed", metavar="X", type=float, default=1.0, help=SPEED)
    add("--pause", metavar="X", type=float, default=1.0, help=PAUSE)
    add("--retries", metavar="N", type=int, help=RETRIES)
    add("--batch-size", metavar="N", type=int, default=8, help="texts decoded together (default: 8)")
    add("--seed", metavar="N", type=int, default=0, help="the same seed gives the same speech (default: 0)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--dtype", help="type of the model's weights: float32, bfloat16 or float16 (default: float32)")
    add("--amp", action="store_true", help="compute in bfloat16 where that is safe")
    add("--no-cuda-graph", action="store_true", help="on a GPU, start every step of decoding anew; slower")
    add(
        "--json",
        action="store_true",
        help="print frames, stopped, seconds, tokens_per_s, passes, path, sampling: a line a text, with --join a piece",
    )
    add("--overwrite", action="store_true", help="replace existing outputs")


def add_sampling(group: argparse._ArgumentGroup) -> None:
    for name, (kind, text) in SAMPLING.items():
        group.add_argument(_flag(name), metavar={int: "N", float: "X", str: "NAME"}[kind], type=kind, help=text)


def given_sampling(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Sampling` that the command line names."""
    return {name: value for name in SAMPLING if (value := getattr(args, name)) is not None}


def epilog(arguments: Sequence[str]) -> str | None:
    """What the help says of the model that the command line names with --checkpoint: how it is sampled by default."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--checkpoint", type=local_path)
    path = flags.parse_known_args(arguments)[0].checkpoint
    if path is None:
        return None

    from vocolab.checkpoints import lm_card, read_checkpoint, stated_sampling

    stated = stated_sampling(lm_card(read_checkpoint(path), path), path)
    settings = " ".join(f"{_flag(name)} {value}" for name in SAMPLING if (value := getattr(stated, name)) != "")
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
    from vocolab.pipelines import TTS, passages

    retries = passages.RETRIES if args.retries is None else args.retries
    delivery = passages.Delivery(args.speed, args.pause, retries)
    given = given_sampling(args)
    heads = Path(args.draft) if args.draft and os.path.isfile(args.draft) else None
    if heads is not None:
        given["draft"] = "medusa"
    device = usable_device(args.device)
    tts = TTS.from_checkpoint(
        args.checkpoint, device, args.dtype, args.codec, drafts=heads, cuda_graph=not args.no_cuda_graph
    )
    sampling = tts.sampling_of_stream(**given) if args.stream else tts.sampling(**given)
    tts.lm.check_context(sampling.max_ar_context)
    normalize = not args.no_normalize
    read = [passages.read(tts, text, name, args.language, args.ref_text, sampling, normalize) for name, text, _ in jobs]
    _say_left_out(read)
    words.say_of(tts, read, [text for _, text, _ in jobs], args.language)
    prompt = tts.get_prompt(references, args.input_prompt_length, args.ref_text)
    say(_heard(prompt, references))
    clear_leftovers(target.parent for _, _, target in jobs if target != stream.STDOUT)
    if args.stream:
        stream.write(tts, read[0], jobs[0][2], prompt, sampling, args)
        return 0
    progress = Progress(sum(len(passage.pieces) for passage in read), args.batch_size, sampling.max_ar_steps)
    parts = passages.say(
        tts,
        read,
        prompt,
        sampling,
        delivery,
        language=args.language,
        seed=args.seed,
        batch_size=args.batch_size,
        amp=args.amp,
        on_step=progress.step,
    )
    settings = Settings(tts.sample_rate, args.overwrite, args.json, args.join, sampling)
    with progress:
        write_all(parts, jobs, args.output, settings, progress)
    return 0


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
    stream.check(args)
    if args.join and args.text_file is None:
        raise UsageError("--join without --text-file", "command line", "leave it out: TEXT is one speech as it is")
    piped = args.output == stream.STDOUT
    if args.join and not piped and (args.output.is_dir() or args.output.suffix.lower() != ".wav"):
        raise UsageError("--join writes one file", args.output, "give OUT.wav with -o")
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
    if args.join:
        return [(1, str(args.text_file), "\n".join(lines))]
    found = [(n, f"{args.text_file}:{n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise VocolabError("empty text", args.text_file, "give something to say, a line for each text")
    return found


def plan(
    texts: Sequence[tuple[int, str, str]], output: Path, overwrite: bool, references: Sequence[Path] = ()
) -> list[tuple[str, str, Path]]:
    """(name, text, file to write) of each text. Raises `VocolabError` where a file exists, or is a reference."""
    if output == stream.STDOUT:
        return [(name, text, output) for _, name, text in texts]
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


def _say_left_out(read: Iterable[Passage]) -> None:
    """Name the pieces of which the model knows no symbol."""
    for passage in read:
        for text in passage.left_out:
            say(f"{passage.name}: left out, the model knows no symbol of it: {shortened(text)!r}")


def _heard(prompt: Prompt, references: Sequence[Path]) -> str:
    """A line that names the stretches of the references that are the prompt."""
    parts = [f"{e.used:.1f} of {e.seconds:.1f} s of {e.path}" for e in prompt.excerpts]
    left = len(references) - len(parts)
    return "voice: " + ", ".join(parts) + (f"; {left} further files are not needed" if left else "")
