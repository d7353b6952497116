"""Let a run's model work on speech it never trained on; write wavs, report.png and report.json into the run."""

from __future__ import annotations

import argparse

from vocolab.errors import UsageError, VocolabError
from vocolab.files import local_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=local_path, help="folder of a run")
    parser.add_argument(
        "--checkpoint",
        metavar="CKPT",
        type=local_path,
        help="a checkpoint or an export of it (default: RUN/checkpoints/last.ckpt)",
    )
    parser.add_argument(
        "--source", metavar="KEY", help="held-out utterance to convert, or whose text to say (default: the first)"
    )
    parser.add_argument(
        "--limit", metavar="N", type=int, help="held-out utterances to work on (default: 100; 6 of a language model)"
    )
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument(
        "--target",
        metavar="SPEAKER",
        help="speaker to convert to (default: the next one), or to say the texts (default: each text's own)",
    )


def run(args: argparse.Namespace) -> int:
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit is {args.limit}", "command line", "give at least 1")
    if not (args.run / "config.yaml").is_file():
        raise VocolabError("no run in the folder (no config.yaml)", args.run, "train one with vocolab fit")

    from vocolab.cli.devices import usable_device
    from vocolab.report import report

    results, files = report(args.run, args.checkpoint, args.source, args.target, args.limit, usable_device(args.device))
    for file in files:
        print(file)
    print("  ".join(f"{key} {value}" for key, value in results.items() if not isinstance(value, (dict, list))))
    for stage, factor in results["rtf"].items():
        print(f"real-time factor, {stage}: {factor}")
    for said in results.get("sentences", ()):
        cut = "" if said["stopped"] else "  (never stopped: cut)"
        print(f"{said['key']}  {said['seconds']} s (recorded {said['recorded_seconds']} s){cut}  {said['text']}")
    return 0
