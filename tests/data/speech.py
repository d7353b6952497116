"""Small corpora of real speech for the tests of preparing."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import webdataset

import vocolab

BUILTIN = Path(vocolab.__file__).parent / "assets" / "corpus"


def librispeech(root: Path, speakers: int = 3, each: int = 4, dev: int = 2) -> Path:
    """`root/LibriSpeech/{train-clean-100,dev-clean}`: `each` real utterances of `speakers`, `dev` of another one."""
    for n in range(speakers):
        _copy(root, "train-clean-100", f"{3001 + n}/10", range(each))
    _copy(root, "dev-clean", "3010/10", range(dev))
    return root


def libritts(root: Path, speakers: int = 3, each: int = 4, dev: int = 2) -> Path:
    """`root/LibriTTS/{train-clean-100,train-clean-360,dev-clean}` with a text beside each real utterance."""
    for subset, first, voices, count in (
        ("train-clean-100", 3001, speakers - 1, each),
        ("train-clean-360", 3000 + speakers, 1, each),
        ("dev-clean", 3010, 1, dev),
    ):
        for speaker in range(first, first + voices):
            source = BUILTIN / "synth" / f"{speaker}/10"
            target = root / "LibriTTS" / subset / f"{speaker}/10"
            target.mkdir(parents=True)
            lines = (source / f"{speaker}-10.trans.txt").read_text().splitlines()[:count]
            for n, (stem, _, text) in enumerate(line.partition(" ") for line in lines):
                name = f"{speaker}_10_{n:06d}_000000"
                shutil.copy(source / f"{stem}.opus", target / f"{name}.opus")
                (target / f"{name}.normalized.txt").write_text(text.capitalize() + ".\n")
                (target / f"{name}.original.txt").write_text("as it was written")
    return root


def _copy(root: Path, subset: str, chapter: str, numbers: range) -> None:
    target, source = root / "LibriSpeech" / subset / chapter, BUILTIN / "synth" / chapter
    target.mkdir(parents=True)
    name = chapter.replace("/", "-")
    for n in numbers:
        shutil.copy(source / f"{name}-{n:04d}.opus", target)
    shutil.copy(source / f"{name}.trans.txt", target)


def manifest(shards: Path) -> dict:
    return json.loads((shards / "manifest.json").read_text())


def digests(shards: Path) -> dict[str, str]:
    return {entry["name"]: entry["sha256"] for entry in manifest(shards)["shards"]}


def samples(shards: Path, split: str) -> dict[str, dict]:
    """All samples of a split by key, read by plain webdataset with named decoders."""
    names = [str(shards / e["name"]) for e in manifest(shards)["shards"] if e["name"].startswith(split + "/")]
    decoders = [webdataset.handle_extension("npy", _npy), webdataset.handle_extension("json", json.loads)]
    dataset = webdataset.WebDataset(names, shardshuffle=False, empty_check=False).decode(*decoders)
    return {sample["__key__"]: sample for sample in dataset}


def _npy(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
