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
from vocolab.cli.synthesize import add_sampling, given_sampling
from vocolab.errors import UsageError, VocolabError
from vocolab.files import local_path
from vocolab.remote import model_file, model_path, url_of

if TYPE_CHECKING:
    from vocolab.evaluation import HeldOut, Subject
    from vocolab.evaluation.rows import Row
    from vocolab.evaluation.vocoder import Conversion
    from vocolab.metrics.voices import SpeakerEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--generated", metavar="DIR", type=local_path, help="speech to judge, STEM.wav (or .flac, .opus, …)")
    add("--reference", metavar="DIR", type=local_path, help="recordings of the same words by the same stems")
    add(
        "--pairs",
        metavar="FILE",
        type=local_path,
        help="instead of the two folders: a generated and a reference file a line, with a tab between them; or columns "
        "that the first line names: generated reference text speaker language",
    )
    add("--common", action="store_true", help="leave out files without a partner")
    add(
        "--checkpoint",
        metavar="CKPT",
        type=model_path,
        help="vocoder or language model, judged by what it makes of --corpus (default: the converter in the package)",
    )
    add(
        "--corpus",
        metavar="PATH",
        type=local_path,
        help="a folder of speech, a manifest, a recipe, or a file of configs/corpus",
    )
    add("--corpus-root", metavar="DIR", type=local_path, help="where the corpus lies, instead of where its file says")
    add("--split", metavar="NAME", help="train, val or test (default: the first there is of val, test, train)")
    add("--limit", metavar="N", type=int, help="utterances of the corpus, drawn by --seed (default: all)")
    add("--task", choices=("resynthesis", "conversion"), help="of a vocoder (default: both)")
    add(
        "--conversions",
        metavar="N|FILE",
        type=lambda text: int(text) if text.lstrip("-").isdigit() else local_path(text),
        help="pairs of an utterance and a voice: so many, drawn by --seed, or a list, KEY VOICE a line "
        "(default: one an utterance)",
    )
    add("--encoder", metavar="PATH", type=lambda text: str(model_path(text)), help="the encoder's weights, see convert")
    add("--codec", metavar="PATH", type=local_path, help="the codec's weights or vocoder, see synthesize")
    add(
        "--list",
        metavar="FILE",
        type=local_path,
        help="what a language model is to say instead of a corpus's texts: utt|prompt text|prompt wav|text a line",
    )
    add(
        "--seconds",
        metavar=("MIN", "MAX"),
        nargs=2,
        type=float,
        default=[4.0, 10.0],
        help="lengths of the utterances of --corpus whose texts a language model says (default: 4 10)",
    )
    add(
        "--prompt-seconds",
        metavar="S",
        type=float,
        default=3.0,
        help="of the prompt a language model hears (default: 3)",
    )
    add(
        "--language",
        metavar="L",
        help="of --list (default: the model's, if it has only one), or of speech that is there already (default: en)",
    )
    add_sampling(parser.add_argument_group("sampling", "of a language model, where its own settings are not wanted"))
    add("-o", "--output", metavar="DIR", type=local_path, help="folder for results.json, results.csv and index.html")
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
    from vocolab.evaluation.figures import read_results
    from vocolab.evaluation.results import lines_of, unmeasured_lines
    from vocolab.evaluation.rows import check_folder
    from vocolab.metrics.choice import all_metrics, choose, left_out_lines

    check_folder(args.output, args.overwrite)
    other = (args.against, read_results(args.against)) if args.against else None
    device = usable_device(args.device)
    subject = _subject(args, device)
    known = all_metrics(subject.voices, args.recogniser, _speaker_encoder(args.speaker_encoder), device)
    tasks = {sample.task for sample in subject.samples}
    metrics, left_out = choose(args.metrics or [m.name for m in known if any(map(m.fits, tasks))], known)
    for line in [*subject.notes, *left_out_lines(left_out)]:
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
    """Refuse wrong arguments before anything is read or computed."""
    if args.output is None:
        raise UsageError("no output", "command line", "say where with -o DIR")
    folders, model = (args.generated, args.reference), (args.checkpoint, args.corpus, args.list)
    given = [any(folders), args.pairs is not None, any(model)]
    if sum(given) > 1 or any(folders) != all(folders):
        remedy = "give --generated with --reference, or --pairs, or --corpus (or --list) with --checkpoint"
        raise UsageError("not one thing to evaluate", "command line", remedy)
    if not any(given[:2]) and args.corpus is None and args.list is None:
        remedy = "give --generated DIR and --reference DIR, or --checkpoint CKPT and --corpus PATH"
        raise UsageError("nothing to evaluate", "command line", remedy)
    for flag, number in (("--limit", args.limit), ("--conversions", args.conversions)):
        if isinstance(number, int) and number < 1:
            raise UsageError(f"{flag} is {number}", "command line", "give at least 1")
    low, high = args.seconds
    if not 0 <= low <= high:
        raise UsageError(f"--seconds is {low:g} {high:g}", "command line", "give the shortest, then the longest")
    files = {"--checkpoint": args.checkpoint, "--codec": args.codec, "--list": args.list, "--pairs": args.pairs}
    if isinstance(args.conversions, Path):
        files["--conversions"] = args.conversions
    for flag, path in files.items():
        if path is not None and not url_of(path) and not path.exists():
            raise VocolabError("no such file", path, f"correct {flag}")
    check_seed(args.seed)


def _subject(args: argparse.Namespace, device: str) -> Subject:
    if args.generated is not None:
        from vocolab.evaluation import folder_pairs

        return folder_pairs(args.generated, args.reference, args.common, args.language or "")
    if args.pairs is not None:
        from vocolab.evaluation import listed_pairs

        return listed_pairs(args.pairs, args.language or "")
    if _is_language_model(args.checkpoint):
        return _speech(args, device)
    if args.list is not None:
        raise UsageError("--list is for a language model", "command line", "give its --checkpoint")
    return _vocoder(args, device)


def _is_language_model(checkpoint: Path | None) -> bool:
    if checkpoint is None:
        return False
    from vocolab.checkpoints import read_checkpoint

    return read_checkpoint(model_file(checkpoint)).get("vocolab", {}).get("kind") == "lm"


def _vocoder(args: argparse.Namespace, device: str) -> Subject:
    from vocolab.evaluation import Subject, held_out
    from vocolab.evaluation.vocoder import conversion, resynthesis
    from vocolab.pipelines import KNNVC

    held = held_out(args.corpus, args.corpus_root, args.split, args.limit, args.seed)
    if args.checkpoint is None:
        vc = KNNVC.pretrained(device, encoder=args.encoder)
    else:
        vc = KNNVC.from_checkpoint(args.checkpoint, args.encoder, device)
    samples = []
    if args.task != "conversion":
        samples += resynthesis(vc, held.utterances)
    if args.task != "resynthesis":
        samples += conversion(vc, _conversions(args, held))
    return Subject(samples, vc.sample_rate, _identity(args), held.recordings())


def _conversions(args: argparse.Namespace, held: HeldOut) -> list[Conversion]:
    from vocolab.evaluation.vocoder import draw_conversions, read_conversions

    if isinstance(args.conversions, Path):
        return read_conversions(args.conversions, held)
    return draw_conversions(held, args.seed, args.conversions)


def _speech(args: argparse.Namespace, device: str) -> Subject:
    from vocolab.evaluation import Subject, held_out
    from vocolab.evaluation.speech import read_list, spoken, with_voices, zero_shot
    from vocolab.pipelines import TTS

    tts = TTS.from_checkpoint(model_file(args.checkpoint), device, codec=args.codec)
    sampling = tts.sampling(**given_sampling(args))
    held = held_out(args.corpus, args.corpus_root, args.split, args.limit, args.seed) if args.corpus else None
    if args.list is not None:
        sentences = read_list(args.list, args.language)
        sentences = with_voices(sentences, held) if held else sentences
    else:
        assert held is not None
        sentences = zero_shot(tts, held, tuple(args.seconds), args.prompt_seconds, args.seed)
    voices = held.recordings() if held else {}
    samples = spoken(tts, sentences, args.prompt_seconds, sampling, args.seed)
    return Subject(samples, tts.sample_rate, _identity(args) | {"sampling": vars(sampling)}, voices)


def _identity(args: argparse.Namespace) -> dict[str, object]:
    """What decides the figures of a model: its file's digest, the corpus and the settings."""
    from vocolab.weights import sha256

    names = ("corpus", "corpus_root", "list", "split", "limit", "task", "conversions", "seconds", "prompt_seconds")
    given = {name: value for name in (*names, "language", "seed") if (value := getattr(args, name)) is not None}
    identity: dict[str, object] = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    if args.checkpoint is not None:
        file = model_file(args.checkpoint)
        identity |= {"checkpoint": str(args.checkpoint), "checkpoint_sha256": sha256(file)}
    return identity
