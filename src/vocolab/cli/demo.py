"""Open a page in the browser to convert speech and to speak text.

Without --checkpoint the converter in the package converts. Speaking needs --lm, a language model. The page serves this
machine alone, unless --host or --share say otherwise; Ctrl-C closes it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vocolab.cli.progress import say
from vocolab.errors import UsageError, VocolabError
from vocolab.extras import required
from vocolab.files import local_path
from vocolab.remote import model_path, url_of

if TYPE_CHECKING:
    from vocolab.pipelines import KNNVC


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--checkpoint",
        metavar="CKPT",
        type=model_path,
        help="a vocoder's checkpoint, to convert with, as for vocolab convert (default: the converter in the package)",
    )
    add(
        "--encoder",
        metavar="PATH",
        type=lambda text: str(model_path(text)),
        help="the encoder's weights, where the checkpoint names none or they lie elsewhere",
    )
    add("--lm", metavar="CKPT", type=local_path, help="a language model's checkpoint or export, to speak with")
    add(
        "--codec",
        metavar="PATH",
        type=local_path,
        help="the codec's weights, or the vocoder that the codec lacks, where --lm holds none",
    )
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--host", metavar="H", default="127.0.0.1", help="address to serve at (default: 127.0.0.1, this machine alone)")
    add("--port", metavar="N", type=int, default=7860, help="port to serve at; 0: any that is free (default: 7860)")
    add("--max-seconds", metavar="S", type=float, default=120.0, help="of a recording to convert (default: 120)")
    add("--max-mb", metavar="N", type=float, default=50.0, help="megabytes of an uploaded file (default: 50)")
    add(
        "--share",
        action="store_true",
        help="give the page a public address at gradio.live too: anyone who has it can use this machine. "
        "Refused without --share-with-anyone",
    )
    add("--share-with-anyone", action="store_true", help="with --share: yes, that is wanted")


def run(args: argparse.Namespace) -> int:
    _check(args)
    from vocolab.demo.server import LOOPBACK, free_address, serving, wait, workplace

    port = free_address(args.host, args.port)
    with workplace() as folder:
        with required("gradio", "vocolab demo"):  # in the workplace: it makes a folder where it is imported
            import gradio  # noqa: F401

        from vocolab.cli.devices import usable_device
        from vocolab.demo.conversion import Conversion
        from vocolab.demo.limits import Limits
        from vocolab.demo.page import build
        from vocolab.demo.speaking import Speaking
        from vocolab.pipelines import TTS

        device = usable_device(args.device)
        limits = Limits(seconds=args.max_seconds, megabytes=args.max_mb)
        conversion = Conversion(_converter(args, device), limits, folder)
        speaking = None
        if args.lm:
            speaking = Speaking(TTS.from_checkpoint(args.lm, device, codec=args.codec), limits, folder)
        with serving(build(conversion, speaking, limits), args.host, port, limits, args.share) as address:
            say(f"vocolab: {address} (Ctrl-C closes it)")
            if args.share or args.host not in LOOPBACK:
                say("vocolab: whoever reaches that address can use this machine to compute")
            wait()
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong arguments before anything is loaded."""
    if args.share != args.share_with_anyone:
        what = "--share opens this machine to anyone who has the address, through a server of others"
        remedy = "give --share and --share-with-anyone where that is wanted, or neither"
        raise UsageError(what, "command line", remedy)
    if not 0 <= args.port < 2**16:
        raise UsageError(f"--port is {args.port}", "command line", "give 1 to 65535, or 0 for any that is free")
    for flag, number in (("--max-seconds", args.max_seconds), ("--max-mb", args.max_mb)):
        if not 0 < number < float("inf"):
            raise UsageError(f"{flag} is {number:g}", "command line", "give a number above 0")
    if args.codec and not args.lm:
        raise UsageError("--codec without --lm", "command line", "leave it out, or give a language model with --lm")
    for path, flag in ((args.checkpoint, "--checkpoint"), (args.lm, "--lm"), (args.codec, "--codec")):
        if path is not None and not url_of(path) and not path.exists():
            raise VocolabError("no such file", path, f"correct {flag}")


def _converter(args: argparse.Namespace, device: str) -> KNNVC:
    """What converts. It is tried, since an encoder reads its weights when it first hears something: whoever starts the
    page should learn that they are missing, and not its first visitor.
    """
    import torch

    from vocolab.pipelines import KNNVC

    if args.checkpoint is None:
        vc = KNNVC.pretrained(device, encoder=args.encoder)
    else:
        vc = KNNVC.from_checkpoint(args.checkpoint, args.encoder, device)
    vc.get_features(torch.zeros(vc.sample_rate), sample_rate=vc.sample_rate)
    return vc
