"""Turn the corpus of a recipe into shards: encode, match, pack. Reads only `data:` of the recipe; goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import sys

TAKES_RECIPE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vocolab prepare -c RECIPE [--KEY VALUE ...] [--workers N] [--verify]"
    parser.add_argument(
        "--workers", type=int, help="processes that encode side by side (default: the recipe's data.prepare_workers)"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="then read all shards, also those made before, and compare them with their sha256",
    )
    parser.epilog = (
        "-c RECIPE and --KEY VALUE mean what they do in vocolab fit, such as --data.corpus.root or --data.shards DIR."
    )


def run(args: argparse.Namespace) -> int:
    from vocolab.errors import UsageError
    from vocolab.recipe import Recipe

    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers is {args.workers}", "command line", "give at least 1")
    shards = Recipe(args.rest, "vocolab prepare").data.prepare(workers=args.workers)
    if args.verify:
        from vocolab.data.preparation.crew import share_of_ranks
        from vocolab.data.shards.manifest import verify_shards

        if share_of_ranks(None, None)[0] == 0:
            size = verify_shards(shards)
            print(f"verified {size / 1e6:,.1f} MB in {shards}", file=sys.stderr)
    return 0
