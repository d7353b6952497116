"""`vocolab synthesize`: what it refuses before any work, and what it leaves."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import vocolab.recipe  # noqa: F401  (Lightning's log handler keeps the standard error it was imported under)
from tests.pipelines import tiny
from tests.test_checkpoints import own_checkpoint
from vocolab import audio
from vocolab.checkpoints import load_lm
from vocolab.cli import main, synthesize
from vocolab.errors import VocolabError
from vocolab.files import atomic
from vocolab.lm import MedusaHeads, Sampling
from vocolab.vocoders import Vocos

REFERENCE = tiny.OTHER[0]
SHORT = ["--max-ar-steps", "20", "--length-penalty", "100"]  # it stops only where it is cut


@pytest.fixture
def speak(work, lm_checkpoint, capsys):
    """Run the command; returns its status, standard output, and standard error."""

    def run(*args: object) -> tuple[int, str, str]:
        status = main(["synthesize", "--checkpoint", lm_checkpoint, "--device", "cpu", *args])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


def test_one_text(speak, work):
    status, out, err = speak("hello there", "--ref", REFERENCE, "-o", "out.wav", *SHORT)
    assert (status, out) == (0, "")
    heard, said = err.splitlines()
    assert heard == f"voice: 2.0 of 4.9 s of {REFERENCE}"
    assert said == (
        "[1/1] TEXT -> out.wav, 20 frames, 0.8 s; it did not stop by itself and was cut after 20 frames: see --max-ar-steps, --seed"
    )
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", 20 * 640)
    assert sorted(p.name for p in work.iterdir()) == ["out.wav"]


def test_a_file_of_texts(speak):
    """Each line has its own file, numbered by its line; blank lines have none."""
    Path("texts.txt").write_text("hello there\n\nwho are you\n  \nyes\n", encoding="utf-8-sig")
    status, out, err = speak(
        "--text-file", "texts.txt", "--ref", REFERENCE, "-o", "out", "--batch-size", "2", "--json", *SHORT
    )
    assert status == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["0001.wav", "0003.wav", "0005.wav"]
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["path"] for line in lines] == ["out/0001.wav", "out/0003.wav", "out/0005.wav"]
    assert all((line["frames"], line["stopped"], line["seconds"]) == (20, False, 0.8) for line in lines)
    assert all(line["tokens_per_s"] > 0 for line in lines)
    assert "[2/3] texts.txt:3 -> out/0003.wav" in err
    speak("who are you", "--ref", REFERENCE, "-o", "alone.wav", *SHORT)
    together, alone = (soundfile.read(name)[0] for name in ("out/0003.wav", "alone.wav"))
    assert np.abs(together - alone).max() <= 2 / 32768
    other = soundfile.read("out/0001.wav")[0]
    assert np.abs(together - other).max() > 0.001


def test_a_text_of_several_lines_is_one_text(speak, work):
    assert speak("hello\nthere", "--ref", REFERENCE, "-o", "out", *SHORT)[0] == 0
    assert [p.name for p in Path("out").iterdir()] == ["0001.wav"]


def test_the_seed_repeats_the_bytes(speak):
    for name, seed in (("a.wav", 3), ("b.wav", 3), ("c.wav", 4)):
        assert speak("hello", "--ref", REFERENCE, "-o", name, "--seed", seed, *SHORT)[0] == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes() != Path("c.wav").read_bytes()


def test_stopping_by_itself(speak):
    status, out, err = speak("hello", "--ref", REFERENCE, "-o", "o.wav", "--json", "--length-penalty", "-100")
    figures = json.loads(out)
    assert status == 0 and figures["stopped"] and figures["frames"] < 5 and "cut" not in err


def test_several_references(speak):
    Path("voice").mkdir()
    for path in tiny.OTHER[:2]:
        shutil.copy(path, "voice")
    status, _, err = speak(
        "hello", "--ref", "voice", tiny.OTHER[2], "-o", "o.wav", "--input-prompt-length", "2.5", *SHORT
    )
    line = err.splitlines()[0]
    assert status == 0 and re.fullmatch(
        r"voice: 1\.2 of .* s of voice/.*, 1\.2 of .*; 1 further files are not needed", line
    )


def test_references_with_their_text(speak, prefix_checkpoint):
    again = ["--checkpoint", prefix_checkpoint, "--ref", REFERENCE]  # the last --checkpoint counts
    status, _, err = speak("hello", *again, "-o", "o.wav", "--ref-text", "so it is", *SHORT)
    assert status == 0 and soundfile.info("o.wav").frames == 20 * 640
    assert re.match(r"voice: 4\.\d of 4\.9 s of ", err)
    for flags, message in (
        ([], "the model goes on from what the references say (it was trained with prompt: prefix): --ref-text: give their text, word for word"),
        (["--ref-text", "a", "--input-prompt-length", "2"], "references whose text is given are heard whole: --input-prompt-length: leave it out, or give shorter references"),
    ):  # fmt: skip
        status, _, err = speak("hello", *again, "-o", "p.wav", *flags, *SHORT)
        assert (status, err.splitlines()[-1]) == (2, f"vocolab: error: {message}")
    assert not Path("p.wav").exists()


def test_all_sampling_flags(speak):
    flags = "--ar-temp 0.9 --nar-temp 0.5 --min-ar-temp 0.3 --min-nar-temp 0.1 --top-k 8 --top-p 0.9 --repetition-penalty 1.2 --repetition-penalty-decay 0.5 --max-nar-levels 1 --amp --dtype float32 --language en --seed 3 --batch-size 1"
    assert speak("hello", "--ref", REFERENCE, "-o", "o.wav", *flags.split(), *SHORT)[0] == 0
    assert (
        speak("hello", "--ref", REFERENCE, "-o", "p.wav", "--mirostat-tau", "3", "--mirostat-eta", "0.2", *SHORT)[0]
        == 0
    )
    assert speak("hello", "--ref", REFERENCE, "-o", "q.wav", "--beam-width", "2", "--max-ar-steps", "5")[0] == 0


def test_help_states_the_defaults_of_sampling():
    assert set(synthesize.SAMPLING) == {field.name for field in dataclasses.fields(Sampling)}
    assert "; 0 and 1: none" in synthesize.SAMPLING["beam_width"][1]
    for name, (kind, text) in synthesize.SAMPLING.items():
        default = getattr(Sampling(), name)
        if kind is str:
            assert default == ""
            continue
        stated = re.search(
            r"\(default: (?:0, )?([\d.]+|off)", text.replace("Mirostat; ", "").replace("VALL-E 2; ", "")
        )[1]
        assert kind is type(default), name
        assert default == (-1 if stated == "off" else float(stated)) or ", off" in text and default == 0, name


def test_a_model_states_its_sampling_and_flags_override_it(work, capsys):
    """Without flags the bytes are those of the stated settings as flags; --json and --help show what is used."""
    stated = {"ar_temp": 0.3, "max_ar_steps": 15, "length_penalty": 100.0}
    lm, codec = tiny.language_model(), tiny.codec()
    tiny.write(work / "plain.ckpt", lm, codec)
    tiny.write(work / "stated.ckpt", lm, codec, sampling=stated)

    def said(checkpoint: str, out: str, *flags: str) -> dict:
        args = ["--checkpoint", checkpoint, "--ref", str(REFERENCE), "-o", out, "--json", "--device", "cpu", *flags]
        assert main(["synthesize", "hello", *args]) == 0
        return json.loads(capsys.readouterr().out)

    flags = "--ar-temp 0.3 --max-ar-steps 15 --length-penalty 100".split()
    assert said("stated.ckpt", "a.wav")["sampling"] == dataclasses.asdict(Sampling(**stated))
    assert said("plain.ckpt", "b.wav", *flags)["frames"] == 15
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    line = said("stated.ckpt", "c.wav", "--max-ar-steps", "5")
    assert line["frames"] == 5 and line["sampling"] == dataclasses.asdict(Sampling(**stated | {"max_ar_steps": 5}))
    assert main(["synthesize", "--checkpoint", "stated.ckpt", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "sampling of stated.ckpt: --ar-temp 0.3 --nar-temp 0.2" in shown and "--max-ar-steps 15" in shown
    tiny.write(work / "newer.ckpt", lm, codec, sampling={"ar_tmp": 1})
    assert main(["synthesize", "hello", "--checkpoint", "newer.ckpt", "--ref", str(REFERENCE), "-o", "d.wav"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vocolab: error: unknown sampling (") and last.endswith(": newer.ckpt: update vocolab")


def test_symbols_never_seen(speak):
    status, _, err = speak("straße 中中", "--ref", REFERENCE, "-o", "o.wav", *SHORT)
    assert status == 0
    assert err.splitlines()[0] == "symbols the model never saw, spoken as <unk>: 'ß' × 1, Han letters (中) × 2"


def test_punctuation_never_seen_is_left_out_and_named(speak):
    status, _, err = speak("hello (there)?", "--ref", REFERENCE, "-o", "a.wav", *SHORT)
    assert status == 0
    assert err.splitlines()[0] == "symbols the model never saw, left out: '(' × 1, ')' × 1, '?' × 1"
    assert "voice: " in err.splitlines()[1]
    assert speak("hello there", "--ref", REFERENCE, "-o", "b.wav", *SHORT)[0] == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_only_newlines_end_the_lines_of_a_file(speak):
    Path("t.txt").write_bytes("one\u2028two\x0cthree\u0085four\r\nfive".encode())
    status, _, _ = speak("--text-file", "t.txt", "--ref", REFERENCE, "-o", "out", *SHORT)
    assert status == 0 and sorted(p.name for p in Path("out").iterdir()) == ["0001.wav", "0002.wav"]


@pytest.mark.parametrize(
    "args, status, line",
    [
        (["--ref", "r.opus", "-o", "o.wav"], 2, "one text is needed: command line: give either TEXT or --text-file F"),
        (["a", "--text-file", "t.txt", "--ref", "r.opus", "-o", "o.wav"], 2, "one text is needed: command line: "),
        (["a", "--ref", "r.opus"], 2, "no output: command line: say where with -o OUT.wav or -o FOLDER"),
        (["a", "--ref", "r.opus", "-o", "o.mp3"], 2, "only .wav is written: o.mp3: give OUT.wav or a folder"),
        (["a", "-o", "o.wav"], 2, "no reference speech: command line: say with --ref PATH whose voice is to speak"),
        (["", "--ref", "r.opus", "-o", "o.wav"], 1, "empty text: TEXT: give something to say"),
        ([" ?! ", "--ref", "r.opus", "-o", "o.wav"], 1, "no letter or digit in the text ('?!'): TEXT: give something to say"),
        (["--text-file", "book.txt", "--join", "--ref", "r.opus", "-o", "o.wav"], 1, "text of 600,003 characters, at most 500,000 are spoken: book.txt: give it in parts"),
        (["--text-file", "marks.txt", "--join", "--ref", "r.opus", "-o", "o.wav"], 1, "no letter or digit in the text ('* * * ...'): marks.txt: give something to say"),
        (["--text-file", "empty.txt", "--join", "--ref", "r.opus", "-o", "o.wav"], 1, "empty text: empty.txt: give something to say"),
        (["--text-file", "latin1.txt", "--join", "--ref", "r.opus", "-o", "o.wav"], 1, "not UTF-8 (byte 0xe9): latin1.txt:2: save it as UTF-8"),
        (["--text-file", "t.txt", "--join", "--ref", "r.opus", "-o", "out"], 2, "--join writes one file: out: give OUT.wav with -o"),
        (["--text-file", "t.txt", "--join", "--ref", "silent.wav", "-o", "o.wav"], 1, "nothing but silence: silent.wav: give a recording of speech"),
        (["a", "--join", "--ref", "r.opus", "-o", "o.wav"], 2, "--join without --text-file: command line: leave it out: TEXT is one speech as it is"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--speed", "3"], 2, "a speed of 3: --speed: give 0.5 to 2; 1 is as the model speaks"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--speed", "nan"], 2, "a speed of nan: --speed: give 0.5 to 2"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--pause", "-1"], 2, "a pause of -1: --pause: give 0 to 10; 1 is usual"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--retries", "-1"], 2, "--retries is -1: command line: give 0 or more"),
        (["--text-file", "none.txt", "--ref", "r.opus", "-o", "o.wav"], 1, "no such file: none.txt: correct --text-file"),
        (["--text-file", "empty.txt", "--ref", "r.opus", "-o", "o.wav"], 1, "empty text: empty.txt: give something to say, a line for each text"),
        (["--text-file", "r.opus", "--ref", "r.opus", "-o", "o.wav"], 1, "not UTF-8 (byte 0xac): r.opus:1: save it as UTF-8"),
        (["--text-file", "latin1.txt", "--ref", "r.opus", "-o", "out"], 1, "not UTF-8 (byte 0xe9): latin1.txt:2: save it as UTF-8"),
        (["--ref", "r.opus", "hello there", "-o", "o.wav"], 2, "no text: --ref took 'hello there', which is no file: command line: give TEXT before --ref, or --text-file F"),
        (["--ref", "r.opus", "so " * 300, "-o", "o.wav"], 2, "no text: --ref took 'so so "),
        (["--ref", "r.opus", "a/b.c", "-o", "o.wav"], 2, "no text: --ref took 'a/b.c'"),
        (["中中 ß。", "--ref", "r.opus", "-o", "o.wav"], 1, "the model knows no symbol of the text ('中中 ß。'): TEXT: give text in the script"),
        (["--text-file", "unknown.txt", "--ref", "r.opus", "-o", "out"], 1, "the model knows no symbol of the text ('中'): unknown.txt:2: give"),
        (["a", "--ref", "ints.wav", "-o", "o.wav"], 1, "samples as large as"),
        (["--text-file", "t.txt", "--ref", "r.opus", "-o", "o.wav"], 2, "2 texts do not fit in one: o.wav: give a folder with -o"),
        (["--text-file", "book.txt", "--ref", "r.opus", "-o", "out"], 1, "text of 600,000 characters, at most 500,000 are spoken: book.txt:2: give it in parts"),
        (["a", "--ref", "none.wav", "-o", "o.wav"], 1, "no such file: none.wav: check the path"),
        (["a", "--ref", "short.wav", "-o", "o.wav"], 1, "0.10 s of speech, at least 0.5 s are needed: short.wav: give a longer reference"),
        (["a", "--ref", "t.txt", "-o", "o.wav"], 1, "not a readable sound file"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--language", "xx"], 2, "unknown language 'xx': --language: the model was trained on en"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--input-prompt-length", "0.1"], 2, "a prompt of 0.1 s: --input-prompt-length: give at least 0.5 s"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--ref-text", "b"], 2, "the model hears references without their text: --ref-text: leave it out"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--max-ar-context", "100"], 2, "the model cannot do with less of the past: it was trained without a window: --max-ar-context 100: leave it out"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--max-ar-context", "-1"], 2, "-1 will not do: --max-ar-context: give a number of frames; 0 is as trained"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--batch-size", "0"], 2, "--batch-size is 0: command line: give at least 1"),
        (["a", "--ref", "r.opus", "-o", "t.txt"], 2, "the output is a file that is no .wav: t.txt: give OUT.wav or a folder"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--seed", str(2**63)], 2, "--seed is 9223372036854775808: command line: give a whole number of 64 bits"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--top-p", "1.5"], 2, "1.5 will not do: --top-p: "),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--dtype", "int8"], 2, "no such type 'int8': --dtype: give one of "),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--codec", "r.opus"], 2, "the checkpoint holds its codec: --codec: leave it out"),
        (["a", "--ref", "r.opus", "-o", "o.wav", "--device", "cuda:99"], 2, "device 'cuda:99' cannot be used"),
    ],
)  # fmt: skip
def test_what_is_refused(args, status, line, speak):
    shutil.copy(REFERENCE, "r.opus")
    audio.write("short.wav", audio.read(REFERENCE, 16000)[0][8000:9600], 16000)
    Path("t.txt").write_text("one\ntwo\n")
    Path("empty.txt").write_text("\n\n")
    Path("latin1.txt").write_bytes("so\ncafé\n".encode("latin1"))
    Path("unknown.txt").write_text("fine\n中\n", encoding="utf-8")
    soundfile.write("ints.wav", audio.read(REFERENCE)[0].numpy() * 32768, 16000, subtype="FLOAT")
    Path("book.txt").write_text("so\n" + "so " * 200_000)
    Path("marks.txt").write_text("* * *\n\n...\n")
    audio.write("silent.wav", torch.zeros(32000), 16000)
    before = sorted(Path().iterdir())
    found, out, err = speak(*args)
    assert (found, out) == (status, "") and err.splitlines()[-1].startswith(f"vocolab: error: {line}")
    assert sorted(Path().iterdir()) == before


BOOK = """Chapter one

The birch canoe slid on the smooth planks, and the sheet was glued to the dark blue background; nobody
saw it. The juice of lemons makes fine punch!

* * *

Four hours of steady work faced us.
"""
PIECES = [
    "Chapter one",
    "The birch canoe slid on the smooth planks,",
    "and the sheet was glued to the dark blue background;",
    "nobody saw it. The juice of lemons makes fine punch!",
    "Four hours of steady work faced us.",
]


def test_a_book_is_one_speech(speak):
    Path("book.txt").write_text(BOOK)
    args = ["--text-file", "book.txt", "--join", "--ref", REFERENCE, "--json", "--length-penalty", "100"]
    args += ["--max-ar-steps", "60", "--retries", "0", "--batch-size", "2"]
    status, out, err = speak(*args, "-o", "book.wav")
    assert status == 0 and sorted(p.name for p in Path().iterdir()) == ["book.txt", "book.wav"]
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["text"] for line in lines] == PIECES
    assert [line["piece"] for line in lines] == [1, 2, 3, 4, 5] and all(line["pieces"] == 5 for line in lines)
    assert all(line["frames"] == 60 and not line["stopped"] and line["tokens_per_s"] > 0 for line in lines)
    starts = np.cumsum([0, *(line["seconds"] for line in lines)])
    assert [line["start"] for line in lines] == pytest.approx(starts[:-1], abs=0.01)
    samples, rate = soundfile.read("book.wav")
    assert len(samples) / rate == pytest.approx(starts[-1], abs=0.01)
    for start, pause in zip(starts[1:-1], (0.8, 0.2, 0.2, 0.8), strict=True):  # silent from the pause to the next piece
        silent = samples[round((start - pause) * rate) + 20 : round(start * rate) - 20]
        assert not silent.any() and np.abs(samples[round((start - pause - 0.2) * rate) :][: rate // 10]).max() > 0.001
    told = [line for line in err.splitlines() if "book.txt" in line]
    assert told[0].startswith("book.txt, piece 1 of 5 at 0.0 s: 60 frames, ") and len(told) == 6
    assert told[0].endswith("cut after 60 frames: see --max-ar-steps, --seed: 'Chapter one'")
    assert re.fullmatch(
        r"\[1/1\] book.txt -> book.wav, 5 pieces, 300 frames, 1\d\.\d s; 5 of them did not stop by themselves and were cut: see --max-ar-steps, --retries",
        told[-1],
    )

    speak(*args, "-o", "other.wav", "--batch-size", "5")
    other = soundfile.read("other.wav")[0]
    assert len(other) == len(samples) and np.abs(other - samples).max() <= 2 / 32768


def test_a_long_line_is_cut_within_its_own_file(speak):
    Path("t.txt").write_text("hello there\n" + "so it is, and so it was. " * 20 + "\n")
    status, out, _ = speak("--text-file", "t.txt", "--ref", REFERENCE, "-o", "out", "--json", *SHORT)
    first, second = (json.loads(line) for line in out.splitlines())
    assert status == 0 and first["pieces"] == 1 and second["pieces"] > 5
    assert second["frames"] == 20 * second["pieces"]
    assert second["seconds"] == pytest.approx(soundfile.info("out/0002.wav").duration, abs=1e-3)


def test_a_run_that_ends_within_a_book_leaves_nothing(speak, monkeypatch):
    Path("book.txt").write_text(BOOK)
    growing = audio.growing

    @contextlib.contextmanager
    def full(*args):
        with growing(*args) as add:
            times = iter([add, add])
            yield lambda wav: next(times, full_disk)(wav)

    def full_disk(wav):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audio, "growing", full)
    args = ["--text-file", "book.txt", "--join", "--ref", REFERENCE, "-o", "book.wav", *SHORT]
    status, _, err = speak(*args)
    assert status == 1 and [p.name for p in Path().iterdir()] == ["book.txt"]
    line = "cannot write (No space left on device): book.wav: free space or choose another place"
    assert err.splitlines()[-1] == f"vocolab: error: {line}"


def test_what_a_killed_run_left_is_removed_and_said(speak, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: ended.pid)
        with atomic("book.wav") as temporary:
            temporary.write_text("half")
    Path("book.wav").rename(temporary)
    status, _, err = speak("hello", "--ref", REFERENCE, "-o", "book.wav", *SHORT)
    assert status == 0 and f"removed what a killed run left unfinished: {temporary}" in err.splitlines()
    assert [p.name for p in Path().iterdir()] == ["book.wav"]


def test_speaking_that_fails_is_not_taken_for_a_file_that_fails(speak, monkeypatch):
    from vocolab.pipelines import TTS

    told = VocolabError("out of memory with 2 texts together", "cpu", "lower --batch-size")
    monkeypatch.setattr(TTS, "_batch", lambda *_: (_ for _ in ()).throw(told))
    Path("t.txt").write_text("one\ntwo\n")
    status, _, err = speak("--text-file", "t.txt", "--ref", REFERENCE, "-o", "out", *SHORT)
    assert (status, err.splitlines()[-1]) == (1, f"vocolab: error: {told}") and not Path("out").exists()


def test_speed_changes_the_length(speak):
    for name, flags in (("a.wav", []), ("b.wav", ["--speed", "0.8"])):
        assert speak("hello there", "--ref", REFERENCE, "-o", name, *flags, *SHORT)[0] == 0
    assert soundfile.info("b.wav").frames == soundfile.info("a.wav").frames / 0.8


def test_pieces_that_the_model_cannot_say_are_named(speak):
    text = "hello there, who are you.\n\n中中中\n\nso it is."
    status, _, err = speak(text, "--ref", REFERENCE, "-o", "o.wav", *SHORT)
    assert status == 0
    assert err.splitlines()[0] == "TEXT: left out, the model knows no symbol of it: '中中中'"
    assert "TEXT -> o.wav, 2 pieces, 40 frames" in err


def test_existing_outputs_are_refused_before_any_work(speak, monkeypatch):
    Path("out").mkdir()
    Path("out/0002.wav").write_text("mine")
    Path("t.txt").write_text("one\ntwo\n")
    monkeypatch.setattr("vocolab.pipelines.TTS.from_checkpoint", lambda *_, **__: pytest.fail("worked"))
    status, _, err = speak("--text-file", "t.txt", "--ref", REFERENCE, "-o", "out")
    assert (status, err) == (1, "vocolab: error: output exists: out/0002.wav: choose another -o or pass --overwrite\n")
    assert [p.name for p in Path("out").iterdir()] == ["0002.wav"]


def test_overwrite(speak):
    Path("o.wav").write_text("old")
    assert speak("hello", "--ref", REFERENCE, "-o", "o.wav", "--overwrite", *SHORT)[0] == 0
    assert soundfile.info("o.wav").frames > 0


@pytest.mark.parametrize(
    "ref, output", [("voice/0001.wav", "voice/0001.wav"), ("voice", "voice"), ("link.wav", "voice")]
)
def test_a_reference_is_never_replaced(speak, monkeypatch, ref, output):
    Path("voice").mkdir()
    audio.write("voice/0001.wav", audio.read(REFERENCE, 16000)[0], 16000)
    Path("link.wav").symlink_to("voice/0001.wav")
    before = Path("voice/0001.wav").read_bytes()
    monkeypatch.setattr("vocolab.pipelines.TTS.from_checkpoint", lambda *_, **__: pytest.fail("worked"))
    status, _, err = speak("hello", "--ref", ref, "-o", output, "--overwrite")
    assert (status, err) == (1, "vocolab: error: the output is a reference: voice/0001.wav: choose another -o\n")
    assert Path("voice/0001.wav").read_bytes() == before


def test_one_that_fails_does_not_stop_the_others(speak, monkeypatch):
    growing = audio.growing

    def full(path, *args):
        return growing(Path("/dev/null/x.wav") if Path(path).name == "0001.wav" else path, *args)

    monkeypatch.setattr(audio, "growing", full)
    Path("t.txt").write_text("one\ntwo\n")
    status, _, err = speak("--text-file", "t.txt", "--ref", REFERENCE, "-o", "out", *SHORT)
    assert status == 1 and err.splitlines()[-1] == "vocolab: error: 1 of 2 texts failed: out: see the lines above"
    assert [p.name for p in Path("out").iterdir()] == ["0002.wav"]


def test_models_of_the_other_family(work, lm_checkpoint, capsys):
    torch.save({"generator": {}}, "g_1.pt")
    assert main(["synthesize", "a", "--ref", REFERENCE, "--checkpoint", "g_1.pt", "-o", "o.wav"]) == 1
    assert capsys.readouterr().err == (
        "vocolab: error: holds a vocoder, no language model: g_1.pt: vocolab convert takes this one; give a checkpoint of a language model's training\n"
    )
    assert main(["convert", REFERENCE, "--ref", REFERENCE, "--checkpoint", lm_checkpoint, "-o", "o.wav"]) == 1
    assert capsys.readouterr().err == (
        f"vocolab: error: holds a model of kind 'lm', no vocoder: {lm_checkpoint}: vocolab synthesize takes this one; give a checkpoint of a vocoder's training\n"
    )


TINY = """\
trainer: {max_steps: 2, val_check_interval: 2, log_every_n_steps: 1, limit_val_batches: 1, enable_progress_bar: false}
checkpoint: {every_n_train_steps: 2}
data:
  corpus: {init_args: {speakers: ["3001", "3002"]}}
  prepare_workers: 1
  codec: {init_args: {size: 16, residual_size: 16, vocoder: vocoder.ckpt}}
  batches: {init_args: {tokens: 1500, prompt_seconds: 1.0}}
  shards: shards
model:
  init_args:
    lm:
      init_args:
        ar: {init_args: {size: 16, backbone: {init_args: {dim: 16, heads: 2, layers: 1}}}}
        nar: {init_args: {size: 16, backbone: {init_args: {dim: 16, heads: 2, layers: 1}}}}
    schedule: {init_args: {warmup: 1}}
"""


def test_a_run_speaks(work, capsys):
    """From built-in speech to a checkpoint, an export, a voice and curves, by commands alone."""
    own_checkpoint(Path("vocoder.ckpt"), Vocos(80, dim=16, blocks=1, hidden=16))
    Path("tiny.yaml").write_text(TINY)
    recipe = Path(__file__).parents[2] / "recipes" / "quickstart-tts.yaml"
    assert main(["fit", "-c", recipe, "-c", "tiny.yaml", "--trainer.default_root_dir", "run"]) == 0
    assert main(["export", "run/checkpoints/last.ckpt", "-o", "model.safetensors"]) == 0
    for checkpoint, name in (("run/checkpoints/last.ckpt", "a.wav"), ("model.safetensors", "b.wav")):
        base = ["synthesize", "Hello there.", "--ref", REFERENCE, "--checkpoint", checkpoint, "--device", "cpu"]
        assert main([*base, "-o", name, "--max-ar-steps", "20"]) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    assert "voice: 1.0 of 4.9 s of" in capsys.readouterr().err
    assert main(["plot", "run", "--xs", "tokens_processed", "--ys", "loss", "acc", "-o", "f.png"]) == 0

    prefix = ["--trainer.max_steps", "1", "--data.batches.prompt", "prefix", "--trainer.default_root_dir", "prefix"]
    assert main(["fit", "-c", recipe, "-c", "tiny.yaml", *prefix]) == 0
    base = ["synthesize", "Hello.", "--ref", REFERENCE, "--checkpoint", "prefix/checkpoints/last.ckpt", "-o", "c.wav"]
    assert main([*base, "--device", "cpu"]) == 2 and not Path("c.wav").exists()
    assert main([*base, "--device", "cpu", "--ref-text", "So it is.", "--max-ar-steps", "20"]) == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(work, lm_checkpoint, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    Path("t.txt").write_text("one\ntwo\nthree\n")
    base = ["synthesize", "--text-file", "t.txt", "--ref", REFERENCE, "--checkpoint", lm_checkpoint, "--device", "cpu"]
    assert main([*base, "-o", "out", "--batch-size", "2", *SHORT]) == 0
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())
    assert "[1–2 of 3]" in shown and "[3–3 of 3]" in shown and "3/3 pieces" in shown
    assert main([*base, "-o", "again", *SHORT]) == 0  # in one batch
    assert "20/20 frames" in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())
    assert "[3/3] t.txt:3 -> out/0003.wav, 20 frames, 0.8 s" in shown


def test_many_lines_are_numbered_in_order(work):
    texts = [(n, str(n), "a") for n in (1, 10000)]
    assert [job[2].name for job in synthesize.plan(texts, Path("out"), False)] == ["00001.wav", "10000.wav"]


def test_the_flags_of_the_reference_are_taken():
    parser = argparse.ArgumentParser()
    synthesize.add_arguments(parser)
    known = {flag for action in parser._actions for flag in action.option_strings}
    assert known >= set(
        "--ar-temp --nar-temp --min-ar-temp --min-nar-temp --top-p --top-k --repetition-penalty --repetition-penalty-decay --length-penalty --beam-width --mirostat-tau --mirostat-eta --max-ar-steps --max-nar-levels --max-ar-context --input-prompt-length --language --device --dtype --amp --seed --json".split()
    )


def test_text_as_people_write_it_is_said_in_words(speak):
    """As if the words had been written, and said so; the JSON line holds them."""
    args = ["--ref", REFERENCE, "--json", *SHORT]
    status, out, err = speak("The 2 dogs cost $3.50 — Привет ∑!", *args, "-o", "a.wav")
    words = "The two dogs cost three dollars and fifty cents — Привет ∑!"
    assert status == 0 and json.loads(out)["text"] == words
    lines = err.splitlines()
    assert lines[0] == "text in words: English rules"
    assert "symbols the model never saw, spoken as <unk>: '∑' × 1, Cyrillic letters (привет) × 6" in lines
    assert speak(words, *args, "-o", "b.wav")[0] == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_the_text_as_it_stands(speak):
    status, out, err = speak("a 2", "--no-normalize", "--ref", REFERENCE, "-o", "a.wav", "--json", *SHORT)
    assert status == 0 and json.loads(out)["text"] == "a 2"
    assert err.splitlines()[0] == "symbols the model never saw, spoken as <unk>: '2' × 1"


def test_a_text_of_emoji_is_said_by_their_names(speak):
    status, out, _ = speak("😀😀", "--ref", REFERENCE, "-o", "a.wav", "--json", *SHORT)
    assert status == 0 and json.loads(out)["text"] == "grinning face, grinning face"
    status, _, err = speak("😀😀", "--no-normalize", "--ref", REFERENCE, "-o", "b.wav", *SHORT)
    assert status == 1 and not Path("b.wav").exists()
    assert (
        err.splitlines()[-1] == "vocolab: error: no letter or digit in the text ('😀😀'): TEXT: give something to say"
    )


def test_draft_heads_of_a_file_beside_the_model(speak, lm_checkpoint):
    """The same bytes, in a stream too; heads of another model, or none, are refused in one line."""
    loaded = load_lm(lm_checkpoint)
    loaded.lm.ar.set_drafts(MedusaHeads(2))
    tiny.write(Path("heads.ckpt"), loaded.lm, loaded.codec)
    loaded.lm.ar.classifier.weight.data[0] += 1
    tiny.write(Path("others.ckpt"), loaded.lm, loaded.codec)
    base = ["hello", "--ref", REFERENCE, *SHORT]
    for name, flags in (("a.wav", []), ("b.wav", ["--draft", "heads.ckpt"])):
        assert speak(*base, "-o", name, *flags)[0] == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    assert speak(*base, "-o", "c.wav", "--stream", "--lookahead", "2", "--draft", "heads.ckpt")[0] == 0
    stream, whole = (soundfile.read(name, dtype="int16")[0].astype(int) for name in ("c.wav", "b.wav"))
    assert np.abs(stream - whole).max() <= 1
    before = sorted(Path().iterdir())
    for draft, status, line in (
        ("medusa", 1, "the model has no Medusa heads: --draft medusa: give the file of heads trained for it as --draft FILE"),
        ("others.ckpt", 1, "its draft heads are of another model: others.ckpt: give those that were trained for this one"),
        (lm_checkpoint, 1, f"holds no draft heads: {lm_checkpoint}: train some with recipes/valle_medusa.yaml"),
        ("none.ckpt", 2, "no such draft 'none.ckpt': --draft: give medusa, or a file of draft heads"),
    ):  # fmt: skip
        for flags in ([], ["--stream"]):
            found, _, err = speak(*base, "-o", "d.wav", "--draft", draft, *flags)
            assert found == status and err.splitlines()[-1].startswith(f"vocolab: error: {line}")
    assert sorted(Path().iterdir()) == before
