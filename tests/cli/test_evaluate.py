"""`vocolab evaluate` at its door: results, intervals, differences, resuming, and one line for each mistake."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import soundfile
import torch

from tests.evaluation.conftest import STEMS, folders  # a fixture
from vocolab import audio
from vocolab.cli import main
from vocolab.errors import VocolabError
from vocolab.evaluation import listed_pairs
from vocolab.metrics import STOI

__all__ = ["folders"]
QUICK = ["--metrics", "stoi", "mel_l1"]


@pytest.fixture
def copies(folders, tmp_path) -> tuple[Path, Path]:
    """The folders to change."""
    return tuple(shutil.copytree(folder, tmp_path / folder.name) for folder in folders)


def evaluate(folders: tuple[Path, Path], output: Path, *more: object) -> int:
    generated, reference = folders
    return main(["evaluate", "--generated", generated, "--reference", reference, "-o", output, *QUICK, *more])


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_figures_with_intervals_in_files_and_a_table(folders, tmp_path, capsys):
    assert evaluate(folders, tmp_path / "out") == 0
    found = results(tmp_path / "out")
    assert found["metrics"].keys() == {"stoi", "mel_l1"}
    stoi, mel = found["metrics"]["stoi"], found["metrics"]["mel_l1"]
    assert (stoi["unit"], stoi["better"], stoi["n"]) == ("0 to 1", "up", 3)
    assert 0.5 < stoi["low"] < stoi["value"] < stoi["high"] < 1
    assert mel["better"] == "down" and 0 < mel["low"] < mel["value"] < mel["high"]
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["utterance"] for row in rows] == list(STEMS)
    assert stoi["value"] == pytest.approx(sum(float(row["stoi"]) for row in rows) / 3)
    assert [float(row["mel_l1"]) for row in rows] == sorted(float(row["mel_l1"]) for row in rows)  # ever noisier
    assert "vocolab" in found["versions"] and found["seed"] == 0 and found["sample_rate"] == 16000
    table = capsys.readouterr().out
    assert f"stoi    {stoi['value']:.3g}" in table and str(tmp_path / "out") in table
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_difference_from_other_results_is_paired(folders, tmp_path, capsys):
    """Each utterance loses about the same, so the difference is clear although the utterances differ more."""
    evaluate(folders, tmp_path / "before")
    worse = tmp_path / "worse"
    for stem in STEMS:
        wav, rate = audio.read(folders[0] / f"{stem}.wav")
        audio.write(worse / f"{stem}.wav", wav + 0.002 * torch.randn(wav.shape, generator=torch.manual_seed(1)), rate)
    assert evaluate((worse, folders[1]), tmp_path / "after", "--against", tmp_path / "before" / "results.json") == 0
    found, before = results(tmp_path / "after"), results(tmp_path / "before")
    difference, ours, theirs = (r["metrics"]["mel_l1"] for r in (found["against"], found, before))
    assert difference["value"] == pytest.approx(ours["value"] - theirs["value"]) and difference["n"] == 3
    assert 0 < difference["low"] < difference["high"] < theirs["high"] - theirs["low"]
    assert "worse" in capsys.readouterr().out


def test_a_killed_evaluation_goes_on(folders, tmp_path, monkeypatch, capsys):
    evaluate(folders, tmp_path / "whole")
    measured = []

    def measure(self, heard):
        measured.append(heard)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return genuine(self, heard)

    genuine = STOI.measure
    monkeypatch.setattr(STOI, "measure", measure)
    assert evaluate(folders, tmp_path / "out") == 130 and not (tmp_path / "out").exists()
    with (tmp_path / ".out.unfinished" / "rows.jsonl").open("a") as file:
        file.write('{"key": "0002", "ta')  # it died while it wrote
    assert main(["evaluate", "--generated", folders[0], "--reference", folders[1], "-o", tmp_path / "out"]) == 1
    assert "an unfinished evaluation with other metrics" in last_line(capsys)
    assert evaluate(folders, tmp_path / "out") == 0
    assert len(measured) == 4 and results(tmp_path / "out") == results(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_results_that_exist_stay(folders, tmp_path, capsys):
    evaluate(folders, tmp_path / "out")
    before = (tmp_path / "out" / "results.json").read_bytes()
    assert evaluate(folders, tmp_path / "out") == 1
    assert last_line(capsys) == (
        f"vocolab: error: results exist: {tmp_path / 'out'}: choose another -o or pass --overwrite"
    )
    assert evaluate(folders, tmp_path / "out", "--overwrite") == 0
    assert (tmp_path / "out" / "results.json").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    assert evaluate(folders, tmp_path / "other", "--overwrite") == 1
    assert "a folder that holds no results" in last_line(capsys)
    assert (tmp_path / "other" / "thesis.txt").exists()


def test_files_without_a_partner(copies, tmp_path, capsys):
    (copies[0] / "0001.wav").rename(copies[0] / "extra.wav")
    assert evaluate(copies, tmp_path / "out") == 1
    line = f"1 of 3 files have no partner (extra): {copies[0]}: add what is missing, or pass --common"
    assert last_line(capsys) == f"vocolab: error: {line}"
    assert evaluate(copies, tmp_path / "out", "--common") == 0
    assert results(tmp_path / "out")["metrics"]["stoi"]["n"] == 2
    for stem in STEMS:
        (copies[0] / f"{stem}.wav").unlink(missing_ok=True)
    assert evaluate(copies, tmp_path / "none", "--common") == 1
    assert "no pairs: no two files have the same stem" in last_line(capsys)


def listed(folder: Path, lines: list[str]) -> Path:
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_pairs_by_a_list(folders, tmp_path, capsys):
    """As by the folders; a pair whose stem is not the only one is named by its path."""
    generated, reference = folders
    lines = [f"{generated}/{stem}.wav\t{reference}/3001/{stem}.wav" for stem in STEMS]
    assert main(["evaluate", "--pairs", listed(tmp_path, [*lines, ""]), "-o", tmp_path / "out", *QUICK]) == 0
    assert evaluate(folders, tmp_path / "folders") == 0
    assert results(tmp_path / "out")["metrics"] == results(tmp_path / "folders")["metrics"]
    (tmp_path / "b").mkdir()
    shutil.copy(generated / "0000.wav", tmp_path / "b")
    more = f"b/0000.wav\t{reference}/3001/0000.wav\twhat is said"
    assert main(["evaluate", "--pairs", listed(tmp_path, [*lines, more]), "-o", tmp_path / "two", *QUICK]) == 0
    assert list(results(tmp_path / "two")["utterances"])[1:] == ["0001", "0002", "b-0000"]


def test_a_list_whose_columns_are_named(folders, tmp_path):
    """Speakers, whose recordings tell their voices, and languages, which decide how texts are compared."""
    generated, reference = folders
    lines = ["reference\tspeaker\tgenerated\tlanguage"]
    lines += [f"{reference}/3001/{stem}.wav\tann\t{generated}/{stem}.wav\t" for stem in STEMS[:2]]
    lines += [f"{reference}/3001/{STEMS[2]}.wav\tbob\t{generated}/{STEMS[2]}.wav\tes"]
    subject = listed_pairs(listed(tmp_path, lines), "en")
    assert [(s.voice, s.language) for s in subject.samples] == [("ann", "en"), ("ann", "en"), ("bob", "es")]
    assert {voice: len(files) for voice, files in subject.voices.items()} == {"ann": 2, "bob": 1}
    assert subject.samples[0].text == "sentence <0000>"  # beside the reference
    for line, complaint in {
        "generated\treference\tpitch": "column 'pitch': .*:1: name some of generated reference text",
        "generated\treference\tgenerated": "column 'generated': .*:1: ",
        lines[0]: "not a pair .3 fields between tabs.: .*:2: give a value for each column",
    }.items():
        with pytest.raises(VocolabError, match=complaint):
            listed_pairs(listed(tmp_path, [line, "a.wav\tb.wav\tc"]))


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("a.wav b.wav", "not a pair (1 fields between tabs): pairs.tsv:2: write a generated and"),
        ("0000.wav\tb.wav", "no such file 'b.wav': pairs.tsv:2: correct the path"),
        ("0000.wav\t0000.wav", "a second '0000': pairs.tsv:2: list each generated file once"),
    ],
)
def test_a_line_of_a_list_that_is_wrong(folders, line, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(folders[0] / "0000.wav", tmp_path)
    listed(Path(), ["0000.wav\t0000.wav", line])
    assert main(["evaluate", "--pairs", "pairs.tsv", "-o", "out", *QUICK]) == 1
    assert last_line(capsys).startswith(f"vocolab: error: {complaint}")
    assert {path.name for path in tmp_path.iterdir()} == {"0000.wav", "pairs.tsv"}


def test_a_list_of_nothing(tmp_path, capsys):
    assert main(["evaluate", "--pairs", listed(tmp_path, [""]), "-o", tmp_path / "out"]) == 1
    assert "no pairs: a list without lines" in last_line(capsys)
    assert main(["evaluate", "--pairs", tmp_path / "none.tsv", "-o", tmp_path / "out"]) == 1
    assert last_line(capsys) == f"vocolab: error: no such file: {tmp_path}/none.tsv: correct --pairs"


def test_rates_may_be_mixed(copies, tmp_path, capsys):
    for stem, rate in (("0000", 8000), ("0001", 48000)):
        wav, _ = audio.read(copies[0] / f"{stem}.wav", rate)
        audio.write(copies[0] / f"{stem}.wav", wav, rate, overwrite=True)
    assert evaluate(copies, tmp_path / "out") == 0
    line = "sample rates are mixed (8000, 16000, 48000 Hz): all is compared at 16000 Hz"
    assert line in capsys.readouterr().err.splitlines()
    rows = {row["utterance"]: row for row in csv.DictReader((tmp_path / "out" / "results.csv").open())}
    assert float(rows["0000"]["mel_l1"]) > float(rows["0001"]["mel_l1"])  # less noise, but half of its band is missing


@pytest.mark.parametrize("side", [0, 1], ids=["generated", "reference"])
def test_a_file_that_cannot_be_used_leaves_the_others(copies, side, tmp_path, capsys):
    path = next(copies[side].rglob("0001.wav"))
    wav, rate = audio.read(path)
    wav[100] = float("nan")
    soundfile.write(path, wav.numpy(), rate, subtype="FLOAT")
    assert evaluate(copies, tmp_path / "out") == 1
    out, err = capsys.readouterr()
    assert f"[2/3] 0001: samples that are not finite: {path}: replace it" in err
    what = "1 of 3 utterances are not in the figures"
    assert err.splitlines()[-1] == f"vocolab: error: {what}: {tmp_path / 'out'}: see the lines above"
    assert results(tmp_path / "out")["metrics"]["stoi"]["n"] == 2
    assert list(results(tmp_path / "out")["failed"]) == ["0001"]


def test_a_file_that_is_no_sound_leaves_the_others(copies, tmp_path, capsys):
    (copies[0] / "0000.wav").write_bytes(b"")
    assert evaluate(copies, tmp_path / "out") == 1
    assert "[1/3] 0000: not a readable sound file" in capsys.readouterr().err
    assert results(tmp_path / "out")["metrics"]["stoi"]["n"] == 2


def test_silence_and_speech_shorter_than_a_window(copies, tmp_path, capsys):
    audio.write(copies[0] / "0000.wav", torch.zeros(32000), 16000, overwrite=True)
    for path in (copies[0] / "0001.wav", copies[1] / "3001" / "0001.wav"):
        audio.write(path, audio.read(path)[0][8000:8300], 16000, overwrite=True)
    audio.write(copies[1] / "3001" / "0002.wav", torch.zeros(32000), 16000, overwrite=True)
    assert evaluate(copies, tmp_path / "out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert "[1/3] 0000: 2.0 s of speech; silent" in lines
    assert any(line.startswith("[3/3] 0002: nothing but silence: ") for line in lines)
    assert "mel_l1 could not be measured on 1 of 2 utterances: shorter than the metric's window" in lines
    assert any(line.startswith("stoi could not be measured on 1 of 2 utterances: ") for line in lines)
    found = results(tmp_path / "out")["metrics"]
    assert found["stoi"]["value"] < 0.1 and found["stoi"]["low"] is None  # of the silent one alone


def test_nothing_measured_leaves_nothing(copies, tmp_path, capsys):
    for stem in STEMS:
        audio.write(copies[1] / "3001" / f"{stem}.wav", torch.zeros(32000), 16000, overwrite=True)
    assert evaluate(copies, tmp_path / "out") == 1
    assert "nothing could be measured (nothing but silence: " in last_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "reference"]


@pytest.mark.parametrize(
    "more, line",
    [
        (["--metrics", "stoy"], "no such metric 'stoy': --metrics: did you mean stoi?"),
        (["--against", "no.json"], "cannot read the results (No such file or directory): no.json: correct --against"),
        (["--seed", str(2**70)], f"--seed is {2**70}: command line: give a whole number of 64 bits"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(folders, more, line, tmp_path, capsys):
    assert evaluate(folders, tmp_path / "out", *more) in (1, 2)
    assert last_line(capsys) == f"vocolab: error: {line}"
    assert list(tmp_path.iterdir()) == []
