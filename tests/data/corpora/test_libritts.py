"""The layout of LibriTTS and LibriTTS-R, with real speech in it."""

from __future__ import annotations

import pytest

from tests.data.speech import libritts, libritts_r
from vocolab.data.corpora import LibriTTS, LibriTTSR
from vocolab.data.corpora.libritts import MD5, MD5_R
from vocolab.errors import UsageError, VocolabError


def test_the_texts_beside_the_speech_are_read(tmp_path):
    splits = LibriTTS(libritts(tmp_path)).splits()
    assert {split: len(found) for split, found in splits.items()} == {"train": 12, "val": 2}
    assert {u.speaker for u in splits["train"]} == {"3001", "3002", "3003"}
    first = splits["train"][0]
    assert (first.key, first.speaker, first.chapter) == ("3001_10_000000_000000", "3001", "10")
    assert first.source == "train-clean-100/3001/10/3001_10_000000_000000.opus" and first.language == "en"
    assert first.text.startswith("The old lighthouse keeper") and first.text.endswith(".")


def test_the_written_text_where_there_is_no_spoken_one(tmp_path):
    libritts(tmp_path)
    for path in tmp_path.rglob("dev-clean/**/*.normalized.txt"):
        path.unlink()
    splits = LibriTTS(tmp_path / "LibriTTS").splits()  # the inner folder will do
    assert {u.text for u in splits["val"]} == {"as it was written"}


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(VocolabError, match="no train-clean-100 in the corpus.*--data.corpus.root"):
        LibriTTS(tmp_path).splits()
    with pytest.raises(UsageError, match="no such LibriTTS subset 'train'"):
        LibriTTS(tmp_path, train=["train"], download=True).splits()
    sums = [*MD5.values(), *MD5_R.values()]
    assert MD5.keys() == MD5_R.keys() and len(set(sums)) == 14 and all(len(value) == 32 for value in sums)


def test_the_restored_corpus_has_a_folder_of_its_own(tmp_path):
    libritts(tmp_path)
    with pytest.raises(VocolabError, match="no train-clean-100 in the corpus"):
        LibriTTSR(tmp_path).splits()
    splits = LibriTTSR(libritts_r(tmp_path)).splits()
    assert {split: len(found) for split, found in splits.items()} == {"train": 12, "val": 2}
    assert {u.path.relative_to(tmp_path).parts[0] for us in splits.values() for u in us} == {"LibriTTS_R"}
