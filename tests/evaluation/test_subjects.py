"""What is evaluated: corpora, conversions drawn among voices, sentences with prompts, lists."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.pipelines import tiny
from vocolab import TTS
from vocolab.cli import main
from vocolab.data.corpora import BuiltinSpeech
from vocolab.errors import UsageError, VocolabError
from vocolab.evaluation.corpus import HeldOut, held_out
from vocolab.evaluation.speech import read_list, with_voices, zero_shot
from vocolab.evaluation.vocoder import draw_conversions, read_conversions


@pytest.fixture(scope="module")
def builtin() -> HeldOut:
    return held_out(Path("configs/corpus/builtin.yaml"))


@pytest.fixture(scope="module")
def tts(lm_checkpoint) -> TTS:
    return TTS.from_checkpoint(lm_checkpoint)


def test_a_file_of_a_slot_holds_out_what_it_says(builtin):
    splits = BuiltinSpeech().splits()
    assert builtin.utterances == splits["val"]
    assert builtin.voices["3001"] == [u for u in splits["train"] if u.speaker == "3001"]
    said = builtin.utterances[-1]
    assert said.text not in {u.text for u in builtin.references("3001", said)}
    with pytest.raises(UsageError, match="no split 'tset' in the corpus: .*: give one of train, val"):
        held_out(Path("configs/corpus/builtin.yaml"), split="tset")


def test_all_of_a_folder(speech_folder):
    found = held_out(speech_folder)
    assert len(found.utterances) == 12 and {v: len(us) for v, us in found.voices.items()} == {
        "3001": 4,
        "3002": 4,
        "3003": 4,
    }
    few = held_out(speech_folder, limit=5, seed=1)
    assert len(few.utterances) == 5 and few.utterances == held_out(speech_folder, limit=5, seed=1).utterances
    assert few.utterances != held_out(speech_folder, limit=5, seed=2).utterances


def test_the_speakers_of_a_librispeech_subset(speech_file, tmp_path):
    for speaker, chapter in (("19", "198"), ("19", "227"), ("26", "495")):
        folder = tmp_path / speaker / chapter
        folder.mkdir(parents=True)
        shutil.copy(speech_file, folder / f"{speaker}-{chapter}-0000.opus")
    assert held_out(tmp_path).voices.keys() == {"19", "26"}


def test_conversions_are_drawn_by_the_seed_within_a_language(builtin):
    drawn = draw_conversions(builtin, seed=3)
    assert drawn == draw_conversions(builtin, seed=3) != draw_conversions(builtin, seed=4)
    languages = {u.speaker: u.language for u in builtin.utterances}
    for one in drawn:
        assert one.target != one.source.speaker and one.references
        assert languages[one.target] == one.source.language
        said = {u.path: u.text for u in builtin.voices[one.target]}
        assert all(said[path] != one.source.text for path in one.references)
    assert len(drawn) >= 20 and set(draw_conversions(builtin, 3, 5)) <= set(drawn)


def test_conversions_by_a_list(builtin, tmp_path):
    """That of the quickstart's benchmark: each of ten voices says its two sentences in two others."""
    found = read_conversions(Path("benchmarks/quickstart_conversions.txt"), builtin)
    assert len(found) == 20 and len({one.target for one in found}) == 10
    for one in found:
        assert one.source.key.startswith("30") and one.target != one.source.speaker and len(one.references) >= 16
    for line, error in {
        "3001-10-0000": "1 words: .*:1: write the key",
        "3001-10-0002 3002": "no utterance '3001-10-0002' is evaluated: .*:1: one of",
        "3001-10-0000 nobody": "nothing to tell the voice 'nobody' by: .*:1: one of 1001",
        "": "a list without lines",
    }.items():
        (tmp_path / "list.txt").write_text(f"{line}\n")
        with pytest.raises(VocolabError, match=error):
            read_conversions(tmp_path / "list.txt", builtin)


def test_the_list_of_the_benchmark_of_speech(builtin):
    """Its prompts are recordings of the voices, of other sentences, and each has its recording."""
    plain = read_list(Path("benchmarks/quickstart_tts.lst"))
    found = with_voices(plain, builtin)
    assert len(found) == 20 and not any(s.voice for s in plain)
    for sentence in found:
        assert sentence.voice == sentence.key[:4] and sentence.reference.stem == sentence.key != sentence.prompt.stem


def test_sentences_and_their_prompts(builtin, tts):
    found = zero_shot(tts, builtin, (3.0, 4.5), 2.0, seed=1)
    by_path = {u.path: u for us in [builtin.utterances, *builtin.voices.values()] for u in us}
    assert found == zero_shot(tts, builtin, (3.0, 4.5), 2.0, seed=1) and len(found) > 3
    for sentence in found:
        assert by_path[sentence.prompt].speaker == sentence.voice == by_path[sentence.reference].speaker
        assert by_path[sentence.prompt].text != sentence.text and sentence.language == "en"
    with pytest.raises(VocolabError, match="no utterance with a text lasts 90 to 99 s"):
        zero_shot(tts, builtin, (90.0, 99.0))


@pytest.mark.parametrize(
    "line, error",
    [
        ("u1|what it says|p.wav", ":2: write utt"),
        ("u0|what it says|p.wav|again", ":2: give each utterance its own name"),
        ("u1|what it says|q.wav|text", r"no such file .*q.wav'.*:2: correct the path"),
    ],
)
def test_a_line_of_a_list_that_is_wrong(line, error, speech_file, tmp_path):
    shutil.copy(speech_file, tmp_path / "p.wav")
    (tmp_path / "list.lst").write_text(f"u0|what it says|p.wav|a text\n{line}\n")
    with pytest.raises(VocolabError, match=error):
        read_list(tmp_path / "list.lst")


def test_a_vocoder_from_corpus_to_figures(speech_folder, tmp_path):
    """Of the converter in the package, resynthesis and conversion, judged without any package of an extra."""
    out, names = tmp_path / "out", ["stoi", "rtf"]
    args = ["--corpus", speech_folder, "--limit", "2", "--conversions", "1", "--metrics", *names, "-o", out]
    assert main(["evaluate", *args, "--device", "cpu"]) == 0
    found = json.loads((out / "results.json").read_text())
    assert found["metrics"].keys() == {"stoi", "rtf", "conversion_rtf"}
    assert 0.8 < found["metrics"]["stoi"]["value"] < 0.95 and found["metrics"]["conversion_rtf"]["n"] == 1
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert [row["task"] for row in rows] == ["resynthesis", "resynthesis", "conversion"]
    assert {f.stem for f in (out / "speech").glob("*.flac")} == {row["utterance"] for row in rows}


def test_a_language_model_from_a_list_to_figures(lm_checkpoint, tmp_path):
    shutil.copy(tiny.SPEECH[0], tmp_path / "prompt.opus")
    (tmp_path / "list.lst").write_text("a/1|prompt|prompt.opus|hello\na/2|prompt|prompt.opus|there\n")
    args = ["--checkpoint", lm_checkpoint, "--list", tmp_path / "list.lst", "--max-ar-steps", "12", "--device", "cpu"]
    assert main(["evaluate", *args, "--metrics", "stopped", "rtf", "-o", tmp_path / "out"]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["metrics"]["stopped"]["n"] == 2 and found["subject"]["sampling"]["max_ar_steps"] == 12
    assert {f.name for f in (tmp_path / "out" / "speech").iterdir()} == {"a-1.flac", "a-2.flac"}


@pytest.mark.parametrize(
    "args, line",
    [
        ([], "nothing to evaluate: command line: give --generated DIR and --reference DIR, or --checkpoint CKPT and --corpus PATH"),
        (["--generated", "a"], "not one thing to evaluate: command line: give --generated with --reference, or --pairs, or --corpus (or --list) with --checkpoint"),
        (["--corpus", "none"], "no such corpus: none: give a folder, a manifest or a recipe with --corpus"),
        (["--corpus", "a", "--limit", "0"], "--limit is 0: command line: give at least 1"),
        (["--corpus", "a", "--seconds", "9", "4"], "--seconds is 9 4: command line: give the shortest, then the longest"),
        (["--corpus", "a", "--checkpoint", "no.ckpt"], "no such file: no.ckpt: correct --checkpoint"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(args, line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *args, "-o", "out"]) in (1, 2)
    assert capsys.readouterr().err == f"vocolab: error: {line}\n" and list(tmp_path.iterdir()) == []
