"""`convert` and `prepare` given 500 hostile inputs (tests/fuzz.py): a result or one line for each; never a traceback, a
hang or half a file. The first 50 run by default, all 500 with -m slow (about two minutes of one core).
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import fuzz
from tests.cli.test_convert import REFERENCE, SOURCE, checkpoint
from tests.tiny_run import work
from vocolab import audio
from vocolab.cli import main

__all__ = ["checkpoint", "work"]
BATCH = 25  # cases that one `prepare` meets
NUMBERS = [
    pytest.param(range(number, number + BATCH), id=str(number), marks=[pytest.mark.slow] if number >= 50 else [])
    for number in range(0, fuzz.COUNT, BATCH)
]
RECIPE = """
data:
  corpus: {class_path: Folder, init_args: {root: speech, val: [good/held.opus]}}
  encoder: {class_path: Whisper, init_args: {layer: 1}}
  prematch: {topk: 2}
  shards: shards
model: {class_path: VocoderTask, init_args: {vocoder: {class_path: Vocos, init_args: {dim: 8, blocks: 1, hidden: 8}}}}
"""


def outcome(capfd: pytest.CaptureFixture, arguments: list[object]) -> tuple[int, str]:
    """Exit status and last line; a failure ends in one line, and nothing is said on standard output."""
    status = main([*arguments])
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == "" and "Traceback" not in err
    if status:
        assert status in (1, 2) and lines[-1].startswith("vocolab: error: ")
        assert sum(line.startswith("vocolab: error: ") for line in lines) == 1
    return status, lines[-1] if lines else ""


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if not path.is_dir()} if folder.is_dir() else set()


@pytest.mark.parametrize("numbers", NUMBERS)
def test_convert(numbers, work, checkpoint, capfd):
    """Every other case is the source, the rest are the reference."""
    failures = []
    for number in numbers:
        (folder := work / str(number)).mkdir()
        case = fuzz.make(number, folder)
        os.chdir(folder)
        try:
            convert(case, work / "out" / str(number), checkpoint, capfd)
        except Exception as error:
            failures.append(f"{case.about}: {type(error).__name__}: {error}")
    assert failures == [], "\n".join(failures)


def convert(case: fuzz.Case, out: Path, checkpoint: Path, capfd: pytest.CaptureFixture) -> None:
    given = case.path.name if case.number % 3 else case.path  # names alone, too: they may begin with a dash
    is_source = case.number % 2 == 1
    speech = [given, "--ref", REFERENCE] if is_source else [SOURCE, "--ref", given]
    target = out if case.number % 4 > 1 else out / "made.wav"
    status, line = outcome(capfd, ["convert", *speech, "--checkpoint", checkpoint, "-o", target, "--device", "cpu"])
    if status:
        assert files(out) == set(), line
    else:
        check_speech(files(out), case.path if is_source else SOURCE)


def check_speech(made: set[str], source: Path) -> None:
    """What a conversion leaves: one file of the length of its source, finite, mono."""
    (path,) = made
    wav, rate = soundfile.read(path, dtype="float64")
    assert soundfile.info(path).subtype == "PCM_16" and rate == 16000 and wav.ndim == 1 and np.isfinite(wav).all()
    if source.is_file():
        assert abs(len(wav) / rate - seconds(source)) < 0.06


def seconds(path: Path) -> float:
    with soundfile.SoundFile(os.fsencode(path)) as file:  # frames are named: some formats cannot be seeked
        return len(file.read(min(file.frames, 10**7), dtype="float32", always_2d=True)) / file.samplerate


@pytest.mark.parametrize("numbers", NUMBERS)
def test_prepare(numbers, work, capfd):
    """A folder of hostile files beside good ones is prepared, and each of them is taken or listed as skipped."""
    good = work / "speech" / "good"
    good.mkdir(parents=True)
    for name in ("one", "two", "held"):
        (good / f"{name}.opus").write_bytes(SOURCE.read_bytes())
    cases = []
    for number in numbers:
        (folder := work / "speech" / str(number)).mkdir()
        cases.append(fuzz.make(number, folder))
    Path("recipe.yaml").write_text(RECIPE)
    status, line = outcome(capfd, ["prepare", "-c", "recipe.yaml", "--workers", "1"])
    assert status == 0, line
    manifest = json.loads(Path("shards/manifest.json").read_text())
    skipped = {entry["path"].split("/")[0] for entry in manifest["skipped"]}
    taken = {path.split("/")[0] for path in sources(Path("shards"))}
    wanted = {case.number for case in cases if case.path.suffix.lower() in (".wav", ".flac", ".opus")}
    wanted -= {case.number for case in cases if case.path.name.startswith(".") or case.path.is_dir()}
    assert {str(number) for number in wanted} <= skipped | taken, [case.about for case in cases]


def sources(shards: Path) -> set[str]:
    """Which files the samples of shards were made of."""
    found = set()
    for path in shards.rglob("*.tar"):
        with tarfile.open(path) as tar:
            found |= {json.load(tar.extractfile(name))["source"] for name in tar.getnames() if name.endswith(".json")}
    return found


@pytest.mark.parametrize("numbers", NUMBERS)
def test_convert_a_folder(numbers, work, checkpoint, capfd):
    """Each of many files becomes a result or is named in a line, and none keeps the others from theirs."""
    (flat := work / "flat").mkdir()
    for number in numbers:
        (folder := work / str(number)).mkdir()
        case = fuzz.make(number, folder)
        if not case.path.is_dir():  # its files would all be named alike
            case.path.rename(flat / f"{number}{case.path.suffix}")
    wanted = audio.find(flat)
    status = main(["convert", flat, "--ref", REFERENCE, "--checkpoint", checkpoint, "-o", "out", "--device", "cpu"])
    out, err = capfd.readouterr()
    last = err.splitlines()[-1]
    assert status == 1 and re.match(r"vocolab: error: \d+ of \d+ files failed: out: ", last) and "Traceback" not in err
    made = {path.stem for path in map(Path, files(Path("out")))}
    assert made and all(path.stem in made or path.name in err for path in wanted)
    assert int(last.split()[2]) == len(wanted) - len(made)
    for path in wanted:
        if path.stem in made:
            check_speech({f"out/{path.stem}.wav"}, path)


def test_a_case_is_made_of_its_number_alone(tmp_path):
    made = []
    for copy in (tmp_path / "a", tmp_path / "b"):
        for number in range(20):
            (copy / str(number)).mkdir(parents=True)
            fuzz.make(number, copy / str(number))
        regular = [path for path in sorted(copy.rglob("*")) if path.is_file() and not path.is_symlink()]
        made.append([(path.relative_to(copy), path.read_bytes()) for path in regular])
    assert made[0] == made[1] and len(made[0]) > 10
