"""Downloading corpora, from a server of our own."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.speech import librispeech, libritts_r, ljspeech, vctk
from vocolab.data.corpora import VCTK, Corpus, LibriSpeech, LibriTTSR, LJSpeech
from vocolab.downloads import unpack
from vocolab.errors import VocolabError


def zipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return file.getvalue()


def bzipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:bz2") as tar:
        tar.add(folder, folder.name)
    return file.getvalue()


def gzipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, "/".join(folder.parts[-2:]))
    return file.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_missing_subsets_are_fetched_only_on_request(tmp_path, server, monkeypatch):
    handler, url = server
    librispeech(tmp_path / "there", speakers=1, each=2, dev=1)
    handler.files = {
        f"{s}.tar.gz": gzipped(tmp_path / "there/LibriSpeech" / s) for s in ("train-clean-100", "dev-clean")
    }
    monkeypatch.setattr(LibriSpeech, "md5", {n.split(".")[0]: md5(data) for n, data in handler.files.items()})
    root = tmp_path / "here"
    with pytest.raises(VocolabError, match="--data.corpus.download true"):
        LibriSpeech(root, url=url).splits()
    assert handler.ranges == []
    splits = LibriSpeech(root, url=url, download=True).splits()
    assert {split: len(us) for split, us in splits.items()} == {"train": 2, "val": 1}
    assert sorted(p.name for p in root.iterdir()) == ["LibriSpeech"]
    assert sorted(p.name for p in (root / "LibriSpeech").iterdir()) == ["dev-clean", "train-clean-100"]
    assert len(handler.ranges) == 2
    LibriSpeech(root, url=url, download=True).splits()
    assert len(handler.ranges) == 2  # what is there is fetched no second time


def test_an_unknown_subset_is_refused_before_any_download(tmp_path, server):
    handler, url = server
    with pytest.raises(VocolabError, match="no such LibriSpeech subset 'train-clean-1000'.*train-clean-100"):
        LibriSpeech(tmp_path, train=["train-clean-1000"], url=url, download=True).splits()
    assert handler.ranges == []


def test_a_damaged_archive_is_one_line(tmp_path, server, monkeypatch):
    handler, url = server
    handler.files = {"dev-clean.tar.gz": b"no archive"}
    monkeypatch.setattr(LibriSpeech, "md5", {"dev-clean": md5(b"no archive")})
    with pytest.raises(VocolabError, match="damaged archive.*dev-clean.tar.gz.*move the file away"):
        LibriSpeech(tmp_path, train=["dev-clean"], val=(), url=url, download=True).splits()
    assert not (tmp_path / "LibriSpeech" / "dev-clean").exists()


@pytest.mark.parametrize(
    "write, build, files, checksums",
    [
        (
            vctk,
            lambda root, url: VCTK(root, url=f"{url}/VCTK-Corpus-0.92.zip", download=True),
            lambda there: {"VCTK-Corpus-0.92.zip": zipped(there / "VCTK-Corpus-0.92")},
            lambda sent: {"sha256": hashlib.sha256(sent["VCTK-Corpus-0.92.zip"]).hexdigest()},
        ),
        (
            ljspeech,
            lambda root, url: LJSpeech(root, url=f"{url}/LJSpeech-1.1.tar.bz2", download=True),
            lambda there: {"LJSpeech-1.1.tar.bz2": bzipped(there / "LJSpeech-1.1")},
            lambda sent: {"sha256": hashlib.sha256(sent["LJSpeech-1.1.tar.bz2"]).hexdigest()},
        ),
        (
            libritts_r,
            lambda root, url: LibriTTSR(root, train=["train-clean-100"], val=[], url=url, download=True),
            lambda there: {"train_clean_100.tar.gz": gzipped(there / "LibriTTS_R/train-clean-100")},
            lambda sent: {"md5": {"train-clean-100": md5(sent["train_clean_100.tar.gz"])}},
        ),
    ],
    ids=["VCTK", "LJSpeech", "LibriTTSR"],
)
def test_a_corpus_comes_whole_after_a_cut_and_after_wrong_bytes(
    tmp_path, server, monkeypatch, write: Callable, build: Callable[[Path, str], Corpus], files, checksums
):
    handler, url = server
    there, here = write(tmp_path / "there", each=1), tmp_path / "here"
    handler.files = files(there)
    corpus = build(here, url)
    with pytest.raises(VocolabError, match="expected [0-9a-f]+: .*run again"):  # not the archive that was published
        corpus.splits()
    assert list(here.iterdir()) == []
    for name, checksum in checksums(handler.files).items():
        monkeypatch.setattr(type(corpus), name, checksum)
    handler.limit = 30_000
    with pytest.raises(VocolabError, match="connection lost after 30,000"):
        corpus.splits()
    handler.limit = None
    found = corpus.splits()
    assert handler.ranges == [None, None, "bytes=30000-"]
    assert [p.name for p in here.iterdir()] == [p.name for p in there.iterdir()]
    sources = {u.source: u.path.read_bytes() for us in found.values() for u in us}
    corpus.root, corpus.download = there, False
    assert sources == {u.source: u.path.read_bytes() for us in corpus.splits().values() for u in us}
    assert len(handler.ranges) == 3


@pytest.mark.parametrize("name", ["x.zip", "x.tar.bz2"])
def test_archives_of_every_kind_that_are_damaged_are_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(VocolabError, match=f"damaged archive.*{name}.*move the file away"):
        unpack(tmp_path / name, ".", tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == [name]
