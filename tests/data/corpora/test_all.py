"""What every corpus promises (corpora/base.py), held for each of them; see tests/contract.py for one of your own."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path, PurePosixPath

import pytest

from tests.contract import SPEECH
from tests.data.speech import librispeech, libritts, libritts_r, ljspeech, vctk, vctk_before
from vocolab.audio import info
from vocolab.data.corpora import (
    VCTK,
    BuiltinSpeech,
    Corpus,
    Folder,
    LibriSpeech,
    LibriTTS,
    LibriTTSR,
    LJSpeech,
    Manifest,
)
from vocolab.errors import VocolabError
from vocolab.parts import build, describe

BASE = Corpus


def folder(root: Path) -> Path:
    """SPEAKER/NAME.opus."""
    for speaker, files in (("anna", SPEECH[:4]), ("ben", SPEECH[4:7])):
        (root / "folder" / speaker).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, root / "folder" / speaker)
    return root / "folder"


def manifest(root: Path) -> Path:
    rows = [
        json.dumps({"path": str(f), "speaker": f.parent.name, "text": f.stem})
        for f in sorted(folder(root).rglob("*.opus"))
    ]
    (root / "list.jsonl").write_text("\n".join(rows))
    return root / "list.jsonl"


def laid_out(write, root: Path) -> Path:
    if not (root / write.__name__).exists():
        write(root / write.__name__, speakers=3, each=3, dev=2)
    return root / write.__name__


PARTS = {
    "BuiltinSpeech": lambda root: BuiltinSpeech(speakers=["300*"]),
    "Folder": lambda root: Folder(folder(root), val=["anna/*0001*"], test=0.2),
    "Manifest": lambda root: Manifest(manifest(root), val=0.3),
    "LibriSpeech": lambda root: LibriSpeech(laid_out(librispeech, root)),
    "LibriTTS": lambda root: LibriTTS(laid_out(libritts, root)),
    "LibriTTSR": lambda root: LibriTTSR(laid_out(libritts_r, root)),
    "VCTK": lambda root: VCTK(laid_out(vctk, root), val=["p226_*"]),
    "VCTK before 0.92": lambda root: VCTK(laid_out(vctk_before, root), val=["p226_*"], test=0.1),
    "LJSpeech": lambda root: LJSpeech(laid_out(ljspeech, root), val=["LJ002-*"]),
}


def test_utterances_are_what_it_says_of_them(make):
    splits = make().splits()
    assert splits and set(splits) <= {"train", "val", "test"} and all(splits.values())
    for utterances in splits.values():
        keys = [u.key for u in utterances]
        assert keys == sorted(set(keys)), "sorted by key, each once"
        for u in utterances:
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,90}", u.key)
            assert u.speaker and u.path.is_file() and info(u.path).seconds > 0
            assert not PurePosixPath(u.source).is_absolute() or isinstance(make(), Manifest)
            assert u.text is None or u.text.strip()


def test_no_utterance_is_in_two_splits(make):
    splits = make().splits()
    paths = [u.path.resolve() for utterances in splits.values() for u in utterances]
    assert len(set(paths)) == len(paths)


def test_the_files_that_it_reads_are_those_of_its_utterances(make):
    corpus = make()
    sources = {u.source for utterances in corpus.splits().values() for u in utterances}
    files = corpus.files()
    assert files is None or (set(files) >= sources and files == sorted(files))
    assert all(isinstance(path, str) for path in corpus.foreign())


def test_it_says_the_same_each_time_and_when_it_is_built_again(make):
    corpus = make()
    expected = corpus.splits()
    again = build(json.loads(json.dumps(describe(corpus))), Corpus)
    assert describe(again) == describe(corpus)
    assert corpus.splits() == again.splits() == make().splits() == expected
    assert pickle.loads(pickle.dumps(corpus)).splits() == expected  # a preparation's workers get it so


def test_its_spec_says_where_it_lies_from_any_working_directory(make):
    spec = json.loads(json.dumps(make().spec()))
    root = spec["init_args"].get("root")
    assert root is None or Path(root).is_absolute()


def test_a_place_without_speech_is_one_line(make, tmp_path):
    described = describe(make())
    name = next((n for n in ("root", "path") if described["init_args"].get(n)), None)
    if name is None:
        pytest.skip("it lies in the package")
    described["init_args"][name] = str(tmp_path / "nowhere")
    with pytest.raises(VocolabError, match="nowhere") as error:
        build(described, Corpus).splits()
    assert error.value.remedy
