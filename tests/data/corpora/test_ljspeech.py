"""LJSpeech's layout, with real speech in it."""

from __future__ import annotations

import pytest

from tests.data.speech import ljspeech
from vocolab.data.corpora import LJSpeech
from vocolab.errors import VocolabError


def test_files_have_the_texts_written_out(tmp_path):
    splits = LJSpeech(ljspeech(tmp_path, speakers=2, each=2), val=["LJ002-*"]).splits()
    assert {s: [u.key for u in us] for s, us in splits.items()} == {
        "train": ["LJ001-0001", "LJ001-0002"], "val": ["LJ002-0001", "LJ002-0002"]
    }  # fmt: skip
    first = splits["train"][0]
    assert (first.speaker, first.chapter, first.language) == ("LJ", "LJ001", "en")
    assert first.source == "wavs/LJ001-0001.wav" and first.path.is_file()
    assert first.text.startswith('"The old lighthouse keeper') and first.text.endswith("in fourteen fifty-five")
    assert LJSpeech(tmp_path / "LJSpeech-1.1", val=["LJ002-*"]).splits()["train"][0].key == first.key


def test_the_other_text_where_none_is_written_out(tmp_path):
    (ljspeech(tmp_path, each=3) / "LJSpeech-1.1/metadata.csv").write_text("LJ001-0001|in 1455|\nLJ001-0002|so  it is\n")
    texts = {u.key: u.text for us in LJSpeech(tmp_path).splits().values() for u in us}
    assert texts == {"LJ001-0001": "in 1455", "LJ001-0002": "so it is", "LJ001-0003": None}


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(VocolabError, match="no metadata.csv of LJSpeech.*--data.corpus.root"):
        LJSpeech(tmp_path).splits()
    metadata = ljspeech(tmp_path, each=1) / "LJSpeech-1.1/metadata.csv"
    metadata.write_text("LJ001-0001|a|b\nLJ001-0002|a|b|c\n")
    with pytest.raises(VocolabError, match="4 columns, expected 3.*metadata.csv:2"):
        LJSpeech(tmp_path).splits()
