"""Draw the curves of one or several runs, from their metrics.csv, into a picture."""

from __future__ import annotations

import argparse

from vocolab.cli.outputs import check_output
from vocolab.errors import UsageError
from vocolab.files import local_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", type=local_path, help="folders of runs; several are drawn into the same axes")
    add("--xs", metavar="K", default="step", help="metric on the x axis, such as tokens_processed (default: step)")
    add(
        "--ys",
        metavar="K",
        nargs="+",
        default=["loss"],
        help="metrics on the y axes; a bare NAME also means train/NAME and train/NAME_level_* (default: loss)",
    )
    add("-o", "--output", metavar="F", type=local_path, required=True, help="the picture: .png, .pdf or .svg")
    add("--overwrite", action="store_true", help="replace an existing picture")


def run(args: argparse.Namespace) -> int:
    if args.output.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError("not a picture's name", args.output, "end it in .png, .pdf or .svg")
    check_output(args.output, args.overwrite)

    from vocolab.plot import plot

    plot(args.runs, args.xs, args.ys, args.output, args.overwrite)
    print(args.output)
    return 0
