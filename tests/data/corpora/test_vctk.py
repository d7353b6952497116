"""VCTK's layouts, with real speech in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.data.speech import vctk, vctk_before
from vocolab.audio import info
from vocolab.data.corpora import VCTK
from vocolab.errors import UsageError, VocolabError


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return vctk(tmp_path_factory.mktemp("vctk"), speakers=2, each=2)


def utterances(corpus: VCTK) -> dict:
    return {u.key: u for found in corpus.splits().values() for u in found}


def test_one_microphone_is_read(root):
    found = utterances(VCTK(root))
    assert list(sorted(found)) == ["p225_001", "p225_002", "p226_001", "p226_002", "p280_001", "p315_001"]
    first = found["p225_001"]
    assert (first.speaker, first.language) == ("p225", "en") and info(first.path).sample_rate == 48000
    assert first.source == "wav48_silence_trimmed/p225/p225_001_mic1.flac"
    assert first.text.startswith("The old lighthouse keeper") and first.text.endswith(".")


def test_speakers_without_a_file_of_a_microphone_are_left_out_and_lost_texts_are_none(root):
    found = utterances(VCTK(root / "VCTK-Corpus-0.92", mic="mic2"))
    assert {u.speaker for u in found.values()} == {"p225", "p226", "p315"}
    assert {u.path.stem[-4:] for u in found.values()} == {"mic2"}
    assert found["p315_001"].text is None and found["p226_002"].text
    assert VCTK(root).spec() != VCTK(root, mic="mic2").spec()


def test_a_pattern_holds_out_a_speaker(root):
    splits = VCTK(root, val=["p226_*"]).splits()
    assert {u.speaker for u in splits["val"]} == {"p226"} and not any(u.speaker == "p226" for u in splits["train"])


def test_versions_before_have_one_microphone_and_yield_to_the_newest(tmp_path, root):
    vctk_before(tmp_path, speakers=1, each=2)
    for mic in ("mic1", "mic2"):
        found = utterances(VCTK(tmp_path, mic=mic))
        assert {k: u.source for k, u in found.items()} == {f"p225_00{n}": f"wav48/p225/p225_00{n}.wav" for n in (1, 2)}
        assert all(u.text for u in found.values())
    shutil.copytree(root / "VCTK-Corpus-0.92", tmp_path / "VCTK-Corpus-0.92")
    assert utterances(VCTK(tmp_path))["p225_001"].path.suffix == ".flac"


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="mic is 'mic3'.*mic1 or mic2"):
        VCTK(tmp_path, mic="mic3")
    with pytest.raises(VocolabError, match="no wav48_silence_trimmed or wav48.*--data.corpus.root"):
        VCTK(tmp_path).splits()
    (tmp_path / "wav48_silence_trimmed/p225").mkdir(parents=True)
    with pytest.raises(VocolabError, match="no SPEAKER/SPEAKER_NNN_mic2.flac"):
        VCTK(tmp_path, mic="mic2").splits()
