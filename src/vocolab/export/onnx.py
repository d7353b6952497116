"""A model as ONNX files that onnxruntime runs without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocolab.checkpoints import held_codec, load_vocoder, read_checkpoint, read_lm
from vocolab.checkpoints.content import CARD
from vocolab.checkpoints.folder import signed
from vocolab.errors import VocolabError
from vocolab.export.codecs import decoder_graphs
from vocolab.export.graph import Graph, check_packages, write_graph
from vocolab.export.language import graphs
from vocolab.export.vocoders import conversion_graph, vocoder_graph
from vocolab.files import atomic, atomic_folder, check_absent, check_folder, local_path
from vocolab.parts import describe
from vocolab.remote import CONFIG, model_file

NAMES = ("vocoder.onnx", "conversion.onnx", "ar.onnx", "nar.onnx", "decoder.onnx", CONFIG)
SUFFIX = ".onnx"


def export_onnx(path: str | Path, output: str | Path, overwrite: bool = False) -> dict[str, float]:
    """Write the graphs of a model; returns how far onnxruntime is from the model, for each file by its name.

    `output` is a folder: `vocoder.onnx` and `conversion.onnx` of a vocoder, `ar.onnx` and `nar.onnx` of a language
    model, `decoder.onnx` of its codec where the file holds all that makes its codes heard, and `config.json`, the card.
    Of a vocoder it may be a file NAME.onnx instead: the vocoder alone. The card is in each file's metadata too, under
    `vocolab`.

    Raises `VocolabError` where a package is missing, `output` exists, ONNX cannot express the model, or a file computes
    something else than the model; then nothing is left.
    """
    output = local_path(output)
    check_packages(output)
    single = output.suffix == SUFFIX
    if single:
        check_absent(output, overwrite)
    else:
        check_folder(output, NAMES, overwrite)
    card, found = _graphs(model_file(path), single, output)
    if single:
        with atomic(output, overwrite) as temporary:
            return {output.name: write_graph(found["vocoder"], temporary, _text(card), path)}
    with atomic_folder(output, NAMES, overwrite) as folder:
        differences = {
            name + SUFFIX: write_graph(graph, folder / (name + SUFFIX), _text(card), path)
            for name, graph in found.items()
        }
        (folder / CONFIG).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return differences


def _graphs(path: Path, single: bool, output: Path) -> tuple[dict[str, Any], dict[str, Graph]]:
    """The card and the graphs of the model in a file."""
    if read_checkpoint(path).get(CARD, {}).get("kind") == "lm":
        if single:
            raise VocolabError("a language model is several graphs", output, "name a folder with -o")
        lm, card, state = read_lm(path)
        return signed(card), graphs(lm.eval(), path) | decoder_graphs(held_codec(card, state, path))
    loaded = load_vocoder(path)
    card = signed({**loaded.meta, "vocoder": describe(loaded.vocoder)})
    found = {"vocoder": vocoder_graph(loaded.vocoder)}
    if not single:
        found["conversion"] = conversion_graph(loaded.vocoder, loaded.meta["matching"]["topk"])
    return card, found


def _text(card: Mapping[str, Any]) -> str:
    return json.dumps(card, sort_keys=True)
