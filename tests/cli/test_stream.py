"""`vocolab synthesize --stream`: what it writes while it speaks, and what it leaves when it is cut short."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import io
import json
import os
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import vocolab.recipe  # noqa: F401  (Lightning's log handler keeps the standard error it was imported under)
from tests.pipelines import tiny
from vocolab.cli import main
from vocolab.lm import Split

REFERENCE = tiny.OTHER[0]
SHORT = ["--max-ar-steps", "40", "--length-penalty", "100"]  # it stops only where it is cut


@pytest.fixture
def base(work, lm_checkpoint) -> list:
    return ["synthesize", "--checkpoint", lm_checkpoint, "--device", "cpu", "--ref", REFERENCE, "--stream"]


def test_to_a_file(base, work, capsys):
    """An ordinary WAV, as long as that of the text said at once."""
    assert main([*base, "-o", "out.wav", "--json", *SHORT, "--", "hello there"]) == 0
    out, err = capsys.readouterr()
    assert [p.name for p in work.iterdir()] == ["out.wav"]
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", 40 * 640)
    figures = json.loads(out)
    assert (figures["frames"], figures["stopped"], figures["seconds"], figures["pieces"]) == (40, False, 1.6, 1)
    assert (
        figures["passes"] == 40
        and 0 < figures["first_sound"]
        and figures["tokens_per_s"] > 0
        and figures["path"] == "out.wav"
    )
    said = r"TEXT -> out\.wav, 40 frames, 1\.6 s, the first sound after \d+\.\d\d s; it did not stop by itself and was cut after 40 frames: see --max-ar-steps, --seed"
    assert re.fullmatch(said, err.splitlines()[-1])


def test_to_a_pipe(base, work, capfdbinary):
    """A WAV whose header states no size, and nothing else, on standard output; figures on standard error."""
    assert main([*base, "-o", "-", "--json", *SHORT, "--", "hello there"]) == 0
    out, err = capfdbinary.readouterr()
    assert out[:4] == b"RIFF" and out[36:40] == b"data"
    assert struct.unpack("<I", out[4:8]) == struct.unpack("<I", out[40:44]) == (2**32 - 1,)
    figures = json.loads(err.splitlines()[-1])
    assert figures["path"] == "-" and figures["frames"] == 40
    assert b"TEXT -> standard output, 40 frames" in err and not list(work.iterdir())
    assert main([*base, "-o", "out.wav", *SHORT, "--", "hello there"]) == 0
    samples, rate = soundfile.read("out.wav", dtype="int16")
    assert rate == 16000 and np.array_equal(np.frombuffer(out[44:], "<i2"), samples)
    piped, rate = soundfile.read(io.BytesIO(out), dtype="int16")
    assert rate == 16000 and np.array_equal(piped, samples)


def test_with_all_ahead_the_bytes_are_those_said_at_once(base, capsys):
    assert main([*base, "-o", "a.wav", "--lookahead", "10", *SHORT, "--", "hello there"]) == 0
    assert main([*(word for word in base if word != "--stream"), "-o", "b.wav", *SHORT, "--", "hello there"]) == 0
    stream, whole = (soundfile.read(name, dtype="int16")[0].astype(int) for name in ("a.wav", "b.wav"))
    assert np.abs(stream - whole).max() <= 1


def test_a_long_text_joined(base, capsys):
    Path("t.txt").write_text("Hello there. Who are you, and what is it that you want of me?\n\nSo it is.\n")
    assert main([*base, "--text-file", "t.txt", "--join", "-o", "out.wav", "--block", "0.2", *SHORT]) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    found = re.match(
        r"t\.txt -> out\.wav, (\d) pieces, (\d+) frames, .*; (\d) of them did not stop by themselves and were cut: see --max-ar-steps, --seed",
        line,
    )
    assert found and int(found[1]) > 1 and int(found[2]) == 40 * int(found[1]) and found[3] == found[1]


def test_a_reader_that_goes_away(base, capsys, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        assert main([*base, "-o", "-", *SHORT, "--", "hello there"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "vocolab: error: the reader went away after 0.0 s of speech: standard output: let it read to the end"
    )


def stopping_at(step: int, error: BaseException):
    """`Split.first_frames` that fails behind a step."""
    first_frames = Split.first_frames

    def failing(*args):
        for response in first_frames(*args):
            if response.steps > step:
                raise error
            yield response

    return failing


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (RuntimeError("can't allocate memory: DefaultCPUAllocator"), 1)]
)
def test_what_is_cut_short_leaves_nothing(base, work, monkeypatch, capsys, error, status):
    """Chunks were written already; the file never gets its name, and no other is left."""
    monkeypatch.setattr(Split, "first_frames", stopping_at(30, error))
    assert main([*base, "-o", "out.wav", *SHORT, "--", "hello there"]) == status
    assert capsys.readouterr().err.splitlines()[-1].startswith("vocolab: ") and not list(work.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beam-width", "3"], "--beam-width is 3, which chooses among whole responses: stream: leave it out, or do not stream"),
        (["--best-of", "2"], "--best-of is 2, which chooses among whole responses: stream: leave it out, or do not stream"),
        (["--block", "0"], "block is 0.0 s: stream: give at least 0.04 s"),
        (["--lookahead", "-1"], "lookahead is -1.0 s: stream: give at least 0 s"),
        (["--speed", "2"], "--speed does not go with --stream: command line: leave one of them out"),
        (["--retries", "2"], "--retries does not go with --stream: command line: leave one of them out"),
        (["--text-file", "t.txt"], "--stream says one text: t.txt: add --join, which makes one of all its lines"),
    ],
)  # fmt: skip
def test_what_does_not_stream_is_refused(base, work, capsys, flags, message):
    Path("t.txt").write_text("one\ntwo\n")
    text = [] if "--text-file" in flags else ["--", "hello"]
    assert main([*base, "-o", "out.wav", *flags, *text]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"vocolab: error: {message}"
    assert [p.name for p in work.iterdir()] == ["t.txt"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-o", "-"], "standard output takes a stream alone: -o -: add --stream, or give OUT.wav"),
        (["-o", "o.wav", "--block", "1"], "--block without --stream: command line: add --stream, or leave it out"),
    ],
)
def test_what_only_a_stream_does_is_refused_without(base, work, capsys, flags, message):
    assert main([*(word for word in base if word != "--stream"), *flags, "--", "hello"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"vocolab: error: {message}"
    assert not list(work.iterdir())


def test_no_sound_onto_a_terminal(base, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main([*base, "-o", "-", "--", "hello"]) == 2
    assert "standard output is a terminal: -o -: pipe it into a player" in capsys.readouterr().err
