"""The command line. Nothing heavy is imported before a command runs: help and version answer at once."""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from vocolab import __version__
from vocolab.errors import UsageError, VocolabError
from vocolab.imports import import_parts

# Methods of Lightning's Trainer. All arguments after the name go to the recipe's parser.
TRAINER = {
    "fit": "prepare what is missing, then train",
    "validate": "measure a checkpoint on the validation split",
    "test": "measure a checkpoint on the test split",
    "predict": "run a checkpoint over the test split",
}
# Each module has `add_arguments(parser)`, which imports nothing heavy, and `run(args)`, which may. `args.rest` holds
# the arguments that the parser does not know; they are refused unless the module says `TAKES_RECIPE = True`.
COMMANDS = {
    "prepare": ("vocolab.cli.prepare", "turn a corpus into shards: encode, match, pack"),
    "convert": ("vocolab.cli.convert", "say speech in another voice"),
    "synthesize": ("vocolab.cli.synthesize", "say text in the voice of a reference"),
    "evaluate": ("vocolab.cli.evaluate", "say how good speech is, in figures with intervals"),
    "demo": ("vocolab.cli.demo", "open a page to convert and to speak"),
    "export": ("vocolab.cli.export", "write a model as one file for other programs"),
    "recipes": ("vocolab.cli.recipes", "list the packaged recipes; copy one to edit"),
    "plot": ("vocolab.cli.plot", "draw the curves of one or several runs"),
    "report": ("vocolab.cli.report", "show what a run's model can do: wavs, a picture, figures"),
}


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are `UsageError`s: one line, like every other."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, "command line", f"see {self.prog} --help")


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: done. 1: the data or the run is at fault. 2: the command line or the recipe is. 130: interrupted.
    """
    argv = sys.argv[1:] if args is None else [str(arg) for arg in args]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are not UTF-8
    try:
        return _run(argv)
    except VocolabError as error:
        _remember(argv, error)
        if os.environ.get("VOCOLAB_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        sys.stdout.flush()
        print(f"vocolab: error: {error}", file=sys.stderr, flush=True)
        return error.status
    except KeyboardInterrupt:
        print("vocolab: interrupted", file=sys.stderr, flush=True)
        return 130
    except SystemExit as done:  # --help, --version
        return done.code if isinstance(done.code, int) else 0
    except Exception as error:
        _remember(argv, error)
        raise


def _remember(argv: list[str], error: Exception) -> None:
    from vocolab.cli.about import remember

    remember(argv, error)


def _run(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name in TRAINER:
        from vocolab.cli.train import run

        return run(name, argv[1:])
    if name in COMMANDS:
        path, summary = COMMANDS[name]
        module = importlib.import_module(path)
        parser = Parser(prog=f"vocolab {name}", description=module.__doc__ or summary, allow_abbrev=False)
        if {"-h", "--help"} & set(argv) and hasattr(module, "epilog"):
            parser.epilog = module.epilog(argv[1:])
        module.add_arguments(parser)
        parser.add_argument(
            "--import",
            dest="imports",
            metavar="MODULE",
            action="append",
            default=[],
            help="a module with parts of your own: package.module, or the path of a .py file; may be repeated",
        )
        parsed, rest = parser.parse_known_args(argv[1:])
        if getattr(module, "TAKES_RECIPE", False):
            rest += [f"--import={imported}" for imported in parsed.imports]  # a key of the recipe
        elif rest:
            if os.path.exists(rest[0]):  # a file whose name begins with a dash
                raise UsageError(f"unknown argument {rest[0]!r}", "command line", f"write ./{rest[0]} for the file")
            parser.error(f"unknown argument {rest[0]!r}{_nearest(rest[0], parser)}")
        parsed.rest = rest
        import_parts(parsed.imports, "--import")
        return module.run(parsed) or 0
    _top(argv)
    close = difflib.get_close_matches(name, [*TRAINER, *COMMANDS], 1)
    raise UsageError(
        f"unknown command {name!r}", "command line", f"did you mean {close[0]}?" if close else "see vocolab --help"
    )


def _top(argv: list[str]) -> None:
    """Answer --help and --version, or return."""
    lines = [f"  {name:<10} {summary}" for name, summary in TRAINER.items()]
    lines += [f"  {name:<10} {summary}" for name, (_, summary) in COMMANDS.items()]
    parser = Parser(
        prog="vocolab",
        usage="vocolab COMMAND ...",
        description="Speech generation from one set of parts.",
        epilog="commands:\n" + "\n".join(lines) + "\n\nvocolab COMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--verbose", action="store_true", help="with --version: all versions, devices, the last error")
    known, _ = parser.parse_known_args(argv or ["--help"])
    if known.version:
        print(_describe() if known.verbose else f"vocolab {__version__}")
        parser.exit()


def _describe() -> str:
    from vocolab.cli.about import describe

    return describe()


def _nearest(argument: str, parser: argparse.ArgumentParser) -> str:
    flags = [flag for action in parser._actions for flag in action.option_strings]
    close = difflib.get_close_matches(argument.split("=")[0], flags, 1)
    return f", did you mean {close[0]}?" if close else ""
