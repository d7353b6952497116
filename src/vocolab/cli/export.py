"""Write a model in the form in which other programs take it.

safetensors: one file: weights, and in the metadata all that inference needs to know. Commands take it as a checkpoint;
only --ckpt_path does not.
hf: a folder in the layout of the Hugging Face hub: config.json, model.safetensors and a model card. It is a checkpoint
too.
hifigan: the official layout of a HiFi-GAN generator, as g_*.pt; a folded one gets its weight norm back.
onnx: a folder of graphs for onnxruntime: vocoder.onnx and conversion.onnx of a vocoder; ar.onnx, nar.onnx and, for the
way from codes to sound, decoder.onnx of a language model; or, with an OUT named *.onnx, the vocoder alone. Each is held
against the model before it gets its name.
A folder that DeepSpeed wrote is put together in fp32 on the way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vocolab.cli.outputs import clear_leftovers
from vocolab.errors import UsageError, VocolabError
from vocolab.files import local_path
from vocolab.remote import model_file, model_path
from vocolab.signals import interrupted_by

FORMATS = ("safetensors", "hf", "hifigan", "onnx")
# The formats that take a flag.
ONLY = {
    "half": ("safetensors", "hf"),
    "average": ("safetensors", "hf"),
    "figures": ("hf",),
    "licence": ("hf",),
    "hub_name": ("hf",),
    "push": ("hf",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "checkpoint",
        metavar="CKPT",
        type=model_path,
        help="a run's checkpoint, an official g_*.pt (file, URL or name in kNN-VC's release), or a DeepSpeed folder",
    )
    add("-o", "--output", metavar="OUT", type=local_path, required=True, help="the file to write; hf, onnx: the folder")
    add(
        "--format",
        choices=FORMATS,
        default="safetensors",
        help="hifigan: for a HiFi-GAN vocoder (default: safetensors)",
    )
    add("--half", action="store_true", help="safetensors, hf: weights in half precision, for a file half as large")
    add(
        "--average",
        metavar="CKPT",
        type=model_path,
        help="safetensors, hf: write the mean of the weights and of these, from which the vocoder's training began",
    )
    add(
        "--figures",
        metavar="FILE",
        type=local_path,
        help="hf: a results.json of vocolab evaluate, or a run's metrics.csv, for the model card",
    )
    add("--licence", metavar="NAME", help="hf: the licence of the weights, for the model card, such as MIT")
    add("--hub-name", metavar="OWNER/NAME", help="hf: what it will be called on the hub, for the model card")
    add("--push", action="store_true", help="hf: upload the folder to --hub-name, with the account of hf auth login")
    add("--overwrite", action="store_true", help="replace an existing output")


def run(args: argparse.Namespace) -> int:
    with interrupted_by("SIGTERM", "SIGHUP"):  # what is half written is removed
        return _export(args)


def _export(args: argparse.Namespace) -> int:
    _check_flags(args)
    checkpoint = model_file(args.checkpoint)
    if not checkpoint.exists():
        raise VocolabError("no such file", checkpoint, "correct CKPT")
    clear_leftovers([args.output.absolute().parent])
    if args.format == "hf":
        return _folder(args, checkpoint)
    if args.format == "onnx":
        return _onnx(args, checkpoint)
    _check_file(args.output, checkpoint, args.format)
    return _hifigan(args, checkpoint) if args.format == "hifigan" else _safetensors(args, checkpoint)


def _check_flags(args: argparse.Namespace) -> None:
    for name, formats in ONLY.items():
        if getattr(args, name) and args.format not in formats:
            flag = f"--{name.replace('_', '-')}"
            remedy = "leave one of them out"
            raise UsageError(f"{flag} is for {' and '.join(formats)}", f"--format {args.format}", remedy)
    if args.push and not args.hub_name:
        raise UsageError("nothing says where to upload to", "--push", "give --hub-name OWNER/NAME")


def _check_file(output: Path, checkpoint: Path, format: str) -> None:
    if output.is_dir():
        raise UsageError("the output is a folder", output, "name a file with -o")
    if output.exists() and output.samefile(checkpoint):
        raise UsageError("the output is the checkpoint", output, "choose another -o")
    if format == "safetensors" and output.suffix != ".safetensors":
        raise UsageError("not named .safetensors", output, "name it so, or choose another --format")


def _hifigan(args: argparse.Namespace, checkpoint: Path) -> int:
    from vocolab.checkpoints import export_hifigan, load_vocoder

    export_hifigan(load_vocoder(checkpoint).vocoder, args.output, args.overwrite)
    print(args.output)
    return 0


def _safetensors(args: argparse.Namespace, checkpoint: Path) -> int:
    from vocolab.export import export_safetensors

    card = export_safetensors(checkpoint, args.output, args.overwrite, args.half, args.average)
    _say(args.output, args.output, card)
    return 0


def _folder(args: argparse.Namespace, checkpoint: Path) -> int:
    from vocolab.checkpoints.folder import check_name, check_upload, upload
    from vocolab.export import save_pretrained
    from vocolab.remote import WEIGHTS

    if args.hub_name:
        (check_upload if args.push else check_name)(args.hub_name)
    told = (args.figures, args.licence or "", args.hub_name or "")
    card = save_pretrained(checkpoint, args.output, *told, args.overwrite, args.half, args.average)
    _say(args.output, args.output / WEIGHTS, card)
    if args.push:
        print(upload(args.output, args.hub_name))
    return 0


def _onnx(args: argparse.Namespace, checkpoint: Path) -> int:
    from vocolab.export import export_onnx

    for name, difference in export_onnx(checkpoint, args.output, args.overwrite).items():
        path = args.output / name if args.output.is_dir() else args.output
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, onnxruntime is {difference:.1e} from the model")
    return 0


def _say(output: Path, weights: Path, card: dict) -> None:
    print(f"{output}: {card['kind']}, {weights.stat().st_size / 1e6:.1f} MB")
    if card.get("codec_licence"):
        print(f"its codec's weights are under {card['codec_licence']}")
