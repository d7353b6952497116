"""Write a model as one file for other programs.

safetensors: weights, and in the metadata all that inference needs to know. Commands take it as a checkpoint; only
--ckpt_path does not.
hifigan: the official layout of a HiFi-GAN generator, as g_*.pt; a folded one gets its weight norm back.
A folder that DeepSpeed wrote is put together in fp32 on the way.
"""

from __future__ import annotations

import argparse

from vocolab.errors import UsageError, VocolabError
from vocolab.files import local_path
from vocolab.remote import model_file, model_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "checkpoint",
        metavar="CKPT",
        type=model_path,
        help="a run's checkpoint, an official g_*.pt (file, URL or name in kNN-VC's release), or a DeepSpeed folder",
    )
    add("-o", "--output", metavar="OUT", type=local_path, required=True, help="the file to write")
    add(
        "--format",
        choices=("safetensors", "hifigan"),
        default="safetensors",
        help="hifigan: for a HiFi-GAN vocoder (default: safetensors)",
    )
    add("--half", action="store_true", help="safetensors: weights in half precision, for a file half as large")
    add(
        "--average",
        metavar="CKPT",
        type=model_path,
        help="safetensors: write the mean of the weights and of these, from which the vocoder's training began",
    )
    add("--overwrite", action="store_true", help="replace an existing output")


def run(args: argparse.Namespace) -> int:
    if args.output.is_dir():
        raise UsageError("the output is a folder", args.output, "name a file with -o")
    checkpoint = model_file(args.checkpoint)
    if not checkpoint.exists():
        raise VocolabError("no such file", checkpoint, "correct CKPT")
    if args.output.exists() and args.output.samefile(checkpoint):
        raise UsageError("the output is the checkpoint", args.output, "choose another -o")
    if args.format == "safetensors" and args.output.suffix != ".safetensors":
        raise UsageError("not named .safetensors", args.output, "name it so, or choose another --format")
    if (args.half or args.average) and args.format != "safetensors":
        flag = "--half" if args.half else "--average"
        raise UsageError(f"{flag} is for safetensors", f"--format {args.format}", "leave one of them out")
    if args.format == "hifigan":
        from vocolab.checkpoints import export_hifigan, load_vocoder

        export_hifigan(load_vocoder(checkpoint).vocoder, args.output, args.overwrite)
        print(args.output)
        return 0

    from vocolab.export import export_safetensors

    card = export_safetensors(checkpoint, args.output, args.overwrite, args.half, args.average)
    print(f"{args.output}: {card['kind']}, {args.output.stat().st_size / 1e6:.1f} MB")
    if card.get("codec_licence"):
        print(f"its codec's weights are under {card['codec_licence']}")
    return 0
