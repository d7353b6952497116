"""What the page refuses, and in which words."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import pytest

from vocolab.demo.limits import Limits
from vocolab.errors import VocolabError

LIMITS = Limits(seconds=3, voice_seconds=9, files=3, characters=20)


@pytest.mark.parametrize(
    "what, line",
    [
        (lambda file: LIMITS.source(None), "no speech to convert: upload a recording, or make one with the microphone"),
        (lambda file: LIMITS.source(file), f"4.4 s, at most 3 s are taken here: {'{name}'}: give a shorter recording"),
        (lambda file: LIMITS.voice(None, None), "no voice: upload recordings of the voice, or make one with the microphone"),
        (lambda file: LIMITS.voice([], ""), "no voice: upload recordings of the voice, or make one with the microphone"),
        (lambda file: LIMITS.voice([file] * 3, file), "4 recordings of the voice: give at most 3"),
        (lambda file: LIMITS.voice([file, file], file), "13.3 s, at most 9 s are taken here: the recordings of the voice: give fewer or shorter ones"),
        (lambda file: LIMITS.text(" \n"), "no text: write something to say"),
        (lambda file: LIMITS.text(None), "no text: write something to say"),
        (lambda file: LIMITS.text("a" * 21), "21 characters, at most 20 are spoken here: give less text, or use vocolab synthesize"),
        (lambda file: LIMITS.duration(4), "4.0 s, at most 3 s are taken here: the length asked for: give less"),
        (lambda file: LIMITS.duration(float("nan")), "nan s, at most 3 s are taken here: the length asked for: give less"),
    ],
)  # fmt: skip
def test_one_line(what, line, speech_file):
    with pytest.raises(VocolabError) as error:
        what(speech_file)
    assert str(error.value) == line.format(name=speech_file.name)


def test_what_is_taken(speech_file):
    limits = Limits(seconds=5, voice_seconds=9, files=2, characters=3)
    assert limits.source(str(speech_file)) == speech_file
    assert limits.voice([str(speech_file)], str(speech_file)) == [speech_file, speech_file]
    assert limits.text(" abc\n") == "abc"
    assert limits.duration(None) is None and limits.duration(0) is None and limits.duration(5) == 5


def test_a_file_that_was_deleted(tmp_path):
    with pytest.raises(VocolabError) as error:
        LIMITS.source(tmp_path / "a.wav")
    assert str(error.value) == "it is no longer here: a.wav: upload it again: recordings are deleted after 60 minutes"


def test_a_file_that_is_no_sound(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    for take in (LIMITS.source, lambda path: LIMITS.voice([path], None)):
        with pytest.raises(VocolabError, match="a.wav"):
            take(tmp_path / "a.wav")
