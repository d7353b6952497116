"""What a preparation says of what it did not do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.data.speech import BUILTIN, librispeech, manifest, samples
from vocolab.data.corpora import BuiltinSpeech, Corpus, Folder, LibriSpeech, Manifest
from vocolab.data.preparation import notes
from vocolab.data.preparation.prepare import Prematch, Preparation, prepare
from vocolab.encoders.mel import Mel
from vocolab.errors import VocolabError


def said(corpus: Corpus, shards: Path, capsys, **parts) -> list[str]:
    """The lines on standard error of a preparation with one worker."""
    capsys.readouterr()
    prepare(Preparation(corpus, **parts), shards, workers=1)
    return capsys.readouterr().err.splitlines()


def tone(path: Path, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(round(16000 * seconds)) / 10), 16000)
    return path


def test_what_is_skipped_passed_over_or_not_matched_is_said_once(tmp_path, capsys):
    folder = tmp_path / "in"
    for name in ("ann/a", "ann/b", "bob/a"):
        tone(folder / f"{name}.wav")
    tone(folder / "ann/short.wav", 0.01), tone(folder / "ann/brief.wav", 0.02)
    (folder / "ann/text.flac").write_text("no sound")
    for name in ("ann/memo 1.M4A", "ann/memo2.m4a", "bob/note.wma", "bob/a.m4a", "bob/read.me"):  # bob/a.wav is read
        (folder / name).write_bytes(b"x")
    corpus, out = Folder(folder, val=0), tmp_path / "out"
    lines = said(corpus, out, capsys, encoder=Mel(), prematch=Prematch(topk=2))
    assert [line for line in lines if line.startswith(("passed", "skipped")) or "plain" in line] == [
        "passed over 3 files in formats that are not read, 2 .m4a, 1 .wma: convert each, for example: "
        "ffmpeg -i 'ann/memo 1.M4A' 'ann/memo 1.flac'",
        f"skipped 3 files: 2 × too short, 1 × not a readable sound file; {out}/manifest.json lists them under skipped",
        "1 utterances keep plain features, with too little to match them with: bob",
    ]
    assert len(manifest(out)["skipped"]) == 3
    assert said(corpus, out, capsys, encoder=Mel(), prematch=Prematch(topk=2)) == []


def test_nothing_is_said_where_nothing_was_left_out(tmp_path, capsys):
    tone(tmp_path / "in/ann/a.wav")
    lines = said(Folder(tmp_path / "in", val=0), tmp_path / "out", capsys)
    assert len(lines) == 4 and lines[0] == "looking over the corpus" and "1 utterances" in lines[1]


def test_a_folder_of_formats_that_are_not_read_says_how_to_convert_them(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(
        VocolabError, match="no audio files .*: there are 1 .m4a: convert each, for example: ffmpeg -i a.m4a"
    ):
        Folder(tmp_path).splits()
    assert Folder(tmp_path, extensions=["m4a"]).foreign() == []  # the user knows better


@pytest.mark.parametrize("explicit", [True, False])
def test_a_corpus_that_has_changed_is_said_and_not_refused(tmp_path, capsys, monkeypatch, explicit):
    monkeypatch.chdir(tmp_path)
    corpus = Folder(librispeech(tmp_path / "in", speakers=1, each=3, dev=1), val=["*3010-10-0000"])
    shards = prepare(Preparation(corpus), tmp_path / "out" if explicit else None, workers=1, progress=False)
    again = lambda: said(corpus, tmp_path / "out" if explicit else None, capsys)  # noqa: E731
    assert again() == []
    first = tmp_path / "in/LibriSpeech/train-clean-100/3001/10/3001-10-0000.opus"
    added = first.with_stem("added")
    shutil.copy(first, added)
    line = f"{shards}: the corpus has changed since its files were listed for these shards (%s): "
    line += "choose another --data.shards to take the change in"
    assert again() == [line % "5 files, then 4"]
    first.unlink()
    assert again() == [line % "other names"]
    added.rename(first)
    (first.parent / "notes.txt").write_text("of no interest")
    assert again() == []
    monkeypatch.setattr(notes, "COMPARED", 3)  # a list too long to make anew
    first.unlink()
    assert again() == []


def test_a_corpus_that_is_elsewhere_is_not_compared(tmp_path, capsys):
    corpus = LibriSpeech(librispeech(tmp_path / "in", speakers=1, each=2, dev=1))
    said(corpus, tmp_path / "out", capsys)
    shutil.move(tmp_path / "in", tmp_path / "moved")
    assert said(corpus, tmp_path / "out", capsys) == []
    assert said(LibriSpeech(tmp_path / "moved"), tmp_path / "out", capsys) == []  # the same files under another root


def test_a_preparation_that_goes_on_tells_of_a_change_too(tmp_path, capsys, monkeypatch):
    tone(tmp_path / "in/a.wav")
    corpus = Folder(tmp_path / "in", val=0)
    with monkeypatch.context() as patch:
        patch.setattr("vocolab.data.preparation.pack.pack", None)  # it fails after the list is made
        patch.setattr("vocolab.data.preparation.crew.STAGES", {})
        with pytest.raises(KeyError):
            said(corpus, tmp_path / "out", capsys)
    tone(tmp_path / "in/b.wav")
    lines = said(corpus, tmp_path / "out", capsys)
    assert "the corpus has changed since its files were listed" in lines[0] and "(2 files, then 1)" in lines[0]
    assert manifest(tmp_path / "out")["splits"]["train"]["samples"] == 1


def test_files_are_those_of_the_splits(tmp_path):
    """For each corpus: what is compared is what the shards were made of."""
    librispeech(tmp_path, speakers=2, each=2, dev=2)
    tone(tmp_path / "LibriSpeech/train-clean-100/stray.wav")  # of no speaker, so in no split
    for corpus in (LibriSpeech(tmp_path), Folder(tmp_path, test=0.1), BuiltinSpeech(speakers=["30*"])):
        found = sorted(u.source for utterances in corpus.splits().values() for u in utterances)
        assert corpus.files() == found and found
    assert Manifest(tmp_path / "list.tsv").files() is None


@pytest.mark.skipif(os.name != "posix", reason="names are text there")
def test_names_that_are_not_utf8(tmp_path, capsys):
    folder = tmp_path / "in" / os.fsdecode(b"ann\xff")
    shutil.copytree(BUILTIN / "synth/3001/10", folder)
    for n, path in enumerate(sorted(folder.glob("*.opus"))):
        path.rename(folder / os.fsdecode(b"%d\xe9.opus" % n)) if n < 3 else path.unlink()
    (folder / os.fsdecode(b"bad\xe9.wav")).write_bytes(b"no sound")
    prematch = Prematch(topk=1, max_pool_frames=100)
    lines = said(Folder(tmp_path / "in", val=0), tmp_path / "out", capsys, encoder=Mel(), prematch=prematch)
    assert any(line.startswith("skipped 1 files: ") for line in lines), lines
    assert {sample["json"]["source"] for sample in samples(tmp_path / "out", "train").values()} == {
        os.fsdecode(b"ann\xff/%d\xe9.opus" % n) for n in range(3)
    }
    assert manifest(tmp_path / "out")["skipped"][0]["path"] == os.fsdecode(b"ann\xff/bad\xe9.wav")


def test_recordings_of_a_lower_rate_than_the_shards_are_counted(tmp_path, capsys):
    for name in ("ann/a", "ann/b", "bob/a"):
        tone(tmp_path / f"in/{name}.wav")
    soundfile.write(tmp_path / "in/bob/b.wav", np.zeros(4800), 48000)
    corpus = Folder(tmp_path / "in", val=0.0)
    line = "3 of 4 files have less than 24,000 Hz, as 16,000: resampled, with nothing above 8,000 Hz"
    assert line in "\n".join(said(corpus, tmp_path / "24", capsys, encoder=Mel(), sample_rate=24000))
    assert "resampled" not in "\n".join(said(corpus, tmp_path / "16", capsys, encoder=Mel()))
