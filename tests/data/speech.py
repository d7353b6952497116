"""Small corpora of real speech for the tests of preparing."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import webdataset

import vocolab
from vocolab import audio

BUILTIN = Path(vocolab.__file__).parent / "assets" / "corpus"


def librispeech(root: Path, speakers: int = 3, each: int = 4, dev: int = 2) -> Path:
    """`root/LibriSpeech/{train-clean-100,dev-clean}`: `each` real utterances of `speakers`, `dev` of another one."""
    for n in range(speakers):
        _copy(root, "train-clean-100", f"{3001 + n}/10", range(each))
    _copy(root, "dev-clean", "3010/10", range(dev))
    return root


def libritts(root: Path, speakers: int = 3, each: int = 4, dev: int = 2, name: str = "LibriTTS") -> Path:
    """`root/NAME/{train-clean-100,train-clean-360,dev-clean}` with a text beside each real utterance."""
    for subset, first, voices, count in (
        ("train-clean-100", 3001, speakers - 1, each),
        ("train-clean-360", 3000 + speakers, 1, each),
        ("dev-clean", 3010, 1, dev),
    ):
        for speaker in range(first, first + voices):
            target = root / name / subset / f"{speaker}/10"
            target.mkdir(parents=True)
            for n, (file, text) in enumerate(_read(speaker, count)):
                stem = f"{speaker}_10_{n:06d}_000000"
                shutil.copy(file, target / f"{stem}.opus")
                (target / f"{stem}.normalized.txt").write_text(text + "\n")
                (target / f"{stem}.original.txt").write_text("as it was written")
    return root


def libritts_r(root: Path, speakers: int = 3, each: int = 4, dev: int = 2) -> Path:
    return libritts(root, speakers, each, dev, "LibriTTS_R")


def vctk(root: Path, speakers: int = 3, each: int = 4, dev: int = 0) -> Path:
    """`root/VCTK-Corpus-0.92` at 48 kHz: p225, p226, …, `each` utterances of two microphones with texts; p280 with mic1
    alone, and p315 without texts.
    """
    folder = root / "VCTK-Corpus-0.92"
    names = [f"p{225 + n}" for n in range(speakers)] + ["p280", "p315"]
    for speaker, name in enumerate(names, start=3001):
        for n, (file, text) in enumerate(_read(speaker, each if speaker < 3001 + speakers else 1), start=1):
            wav, _ = audio.read(file, 48000)
            for mic in ("mic1",) if name == "p280" else ("mic1", "mic2"):
                audio.write(folder / f"wav48_silence_trimmed/{name}/{name}_{n:03d}_{mic}.flac", wav, 48000)
            if name != "p315":
                (folder / "txt" / name).mkdir(parents=True, exist_ok=True)
                (folder / f"txt/{name}/{name}_{n:03d}.txt").write_text(text + "\n")
    (folder / "speaker-info.txt").write_text("ID  AGE  GENDER  ACCENTS  REGION COMMENTS \n")
    return root


def vctk_before(root: Path, speakers: int = 3, each: int = 4, dev: int = 0) -> Path:
    """`root/VCTK-Corpus` in the layout of the versions before 0.92."""
    folder = root / "VCTK-Corpus"
    for speaker in range(speakers):
        name = f"p{225 + speaker}"
        (folder / "txt" / name).mkdir(parents=True)
        for n, (file, text) in enumerate(_read(3001 + speaker, each), start=1):
            audio.write(folder / f"wav48/{name}/{name}_{n:03d}.wav", audio.read(file, 48000)[0], 48000)
            (folder / f"txt/{name}/{name}_{n:03d}.txt").write_text(text + "\n")
    return root


def ljspeech(root: Path, speakers: int = 1, each: int = 4, dev: int = 0) -> Path:
    """`root/LJSpeech-1.1` at 22.05 kHz: `each` utterances in each of `speakers` chapters."""
    folder, lines = root / "LJSpeech-1.1", []
    for chapter in range(1, speakers + 1):
        for n, (file, text) in enumerate(_read(3001, each), start=1):
            name = f"LJ{chapter:03d}-{n:04d}"
            audio.write(folder / f"wavs/{name}.wav", audio.read(file, 22050)[0], 22050)
            lines.append(f'{name}|"{text}" in 1455|"{text}" in fourteen fifty-five')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def _read(speaker: int, count: int) -> list[tuple[Path, str]]:
    """The first files of a built-in voice, and what they say."""
    source = BUILTIN / "synth" / f"{speaker}/10"
    lines = (source / f"{speaker}-10.trans.txt").read_text().splitlines()[:count]
    found = (line.partition(" ") for line in lines)
    return [(source / f"{stem}.opus", f"{text.capitalize()}.") for stem, _, text in found]


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
