"""Downloading LibriSpeech, from a server of our own."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.data.speech import librispeech
from vocolab.data.corpora import LibriSpeech
from vocolab.errors import VocolabError


def archive(folder: Path, subset: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder / "LibriSpeech" / subset, f"LibriSpeech/{subset}")
    return file.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_missing_subsets_are_fetched_only_on_request(tmp_path, server, monkeypatch):
    handler, url = server
    librispeech(tmp_path / "there", speakers=1, each=2, dev=1)
    handler.files = {f"{s}.tar.gz": archive(tmp_path / "there", s) for s in ("train-clean-100", "dev-clean")}
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
