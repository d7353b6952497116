"""The end of `make quickstart`, on a small run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from matplotlib.image import imread

from tests.overlay import overlay
from tests.pipelines import tiny
from vocolab import TTS
from vocolab.cli import main
from vocolab.data.corpora import BuiltinSpeech, Utterance
from vocolab.pipelines.reading import Reader
from vocolab.report import _earlier
from vocolab.report.shared import Stopwatch
from vocolab.report.speech import _language, _say

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, speech_folder) -> Path:
    folder = tmp_path_factory.mktemp("report")
    command = ["fit", "-c", str(ROOT / "recipes/quickstart.yaml"), *overlay("quickstart", folder)]
    command += ["--data.corpus", str(ROOT / "configs/corpus/folder.yaml"), "--data.corpus.root", str(speech_folder)]
    command += ["--data.corpus.val", "['*-0003']", "--data.shards", str(folder / "shards")]
    assert main([*command, "--trainer.default_root_dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def lm_run(tmp_path_factory) -> Path:
    """Two updates of the small text-to-speech model, of two voices, with a vocoder of two updates."""
    folder = tmp_path_factory.mktemp("report-tts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("quickstart-tts-vocoder", "quickstart-tts"):
            command = ["fit", "-c", str(ROOT / f"recipes/{name}.yaml"), *overlay(name, folder)]
            assert main([*command, "--data.corpus.speakers", "['3001', '3002']"]) == 0
    return folder / "runs/quickstart-tts"


def test_a_report_has_something_to_hear_to_see_and_to_count(finished_run, capsys):
    assert main(["report", str(finished_run)]) == 0
    report = json.loads((finished_run / "report.json").read_text())
    assert set(report) >= {"mel_l1", "stoi", "train_seconds", "updates", "rtf"}
    assert report["updates"] == 2 and report["train_seconds"] > 0 and report["utterances"] == 3
    assert report["mel_l1"] > 0 and -1 <= report["stoi"] <= 1
    assert set(report["rtf"]) == {"encode", "vocode", "match and vocode"}
    assert all(value > 0 for value in report["rtf"].values())
    lengths = {name: soundfile.info(finished_run / f"{name}.wav").frames for name in ("source", "resynthesis")}
    assert 0 <= lengths["source"] - lengths["resynthesis"] < 320
    assert soundfile.info(finished_run / "conversion.wav").samplerate == 16000
    picture = imread(finished_run / "report.png")
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.1
    printed = capsys.readouterr().out
    for name in ("resynthesis.wav", "conversion.wav", "report.png"):
        assert str(finished_run / name) in printed


def test_a_report_needs_the_shards_alone(finished_run, tmp_path, monkeypatch, capsys):
    """Of a run that was moved with its shards, from another folder, its corpus gone."""
    there = tmp_path / "moved"
    shutil.copytree(finished_run.parent, there)
    config = (there / "run/config.yaml").read_text()
    corpus = re.search(r"root: (\S+)", config)[1]
    (there / "run/config.yaml").write_text(config.replace(corpus, str(tmp_path / "gone")))
    finished_run.parent.rename(tmp_path / "away")
    try:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert main(["report", "../moved/run"]) == 0
        assert json.loads((there / "run/report.json").read_text())["utterances"] == 3
        shutil.rmtree(there / "shards")
        assert main(["report", "../moved/run"]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("vocolab: error: no shards: ") and "vocolab prepare -c ../moved/run/config.yaml" in line
    finally:
        (tmp_path / "away").rename(finished_run.parent)


def test_source_and_target_are_chosen(finished_run, capsys):
    assert main(["report", str(finished_run), "--source", "nothing"]) == 2
    keys = re.findall(r"\b3\d{3}-[\w-]+", capsys.readouterr().err.splitlines()[-1])
    assert len(keys) == 3
    assert main(["report", str(finished_run), "--source", keys[1], "--target", "3003"]) == 0
    report = json.loads((finished_run / "report.json").read_text())
    assert (report["source"], report["target"]) == (keys[1], "3003")
    assert main(["report", str(finished_run), "--target", "nobody"]) == 2
    assert "nobody: one of 3001, 3002, 3003" in capsys.readouterr().err.splitlines()[-1]


def test_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "no run in the folder" in capsys.readouterr().err.splitlines()[-1]


def test_an_export_is_reported_on_like_the_run(lm_run, finished_run):
    for run, updates in (lm_run, 2), (finished_run, None):
        assert main(["export", str(run / "checkpoints" / "last.ckpt"), "-o", str(run / "model.safetensors")]) == 0
        assert main(["report", str(run), "--limit", "1", "--checkpoint", str(run / "model.safetensors")]) == 0
        report = json.loads((run / "report.json").read_text())
        assert (report["updates"], report["train_seconds"]) == (updates, None)


def test_a_folder_of_deepspeed_is_to_be_exported_first(lm_run, tmp_path, capsys):
    (tmp_path / "latest").write_text("global_step1")
    assert main(["report", str(lm_run), "--checkpoint", str(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "a folder that DeepSpeed wrote" in said and "vocolab export" in said


def test_reports_of_before_that_say_nothing(tmp_path):
    for content in ("", "[]", "{", '{"sentences": []}', '{"sentences": [1]}', '{"sentences": 1}', '{"rtf": {}}'):
        (tmp_path / "report.json").write_text(content)
        assert _earlier(tmp_path) == []
    (tmp_path / "report.json").write_text('{"sentences": [{"key": "/../../x"}]}')
    assert _earlier(tmp_path) == []


def test_speed_is_told_of_the_speech_that_was_made(lm_checkpoint):
    watch = Stopwatch()
    said, voice = (Utterance("k", path, "k.opus", "3001", text="a") for path in tiny.SPEECH[:2])
    found = _say(TTS.from_checkpoint(lm_checkpoint), said, voice, watch)
    assert watch.speech == {"speak": found.spoken.seconds} and found.spoken.seconds != found.true_seconds
    watch("speak", 2.0, lambda: None)
    assert watch.speech == {"speak": found.spoken.seconds + 2.0}


def test_a_model_that_goes_on_is_told_what_the_voice_says(lm_run, monkeypatch):
    given = []
    monkeypatch.setattr(Reader, "check_ref_text", lambda self, text: given.append(text))
    content = torch.load(lm_run / "checkpoints" / "last.ckpt", weights_only=True)
    content["vocolab"]["prompt"] = "prefix"
    torch.save(content, lm_run / "prefix.ckpt")
    assert main(["report", str(lm_run), "--limit", "1", "--checkpoint", str(lm_run / "prefix.ckpt")]) == 0
    (said,) = json.loads((lm_run / "report.json").read_text())["sentences"]
    voices = {u.text for u in BuiltinSpeech(speakers=[said["voice"]]).splits()["train"]}
    assert given[0] in voices and given[0] != said["text"]
    assert given == [given[0]] * 3  # for the prompt, for what is said and for the picture


def test_each_text_is_read_in_its_own_language(lm_checkpoint):
    """As in training, whether or not the model itself is told the language."""
    tts = TTS.from_checkpoint(lm_checkpoint)
    assert not tts.lm.languages
    texts = [Utterance("k", Path("k.wav"), "k.wav", "s", text="a", language=language) for language in ("fr", "")]
    for languages, expected in (["de", "fr"], ["fr", None]), (["", "fr"], ["fr", ""]), ([], ["fr", None]):
        tts.symbols.languages = languages
        assert [_language(tts, utterance) for utterance in texts] == expected


def test_a_language_model_says_held_out_texts(lm_run, capsys):
    assert main(["report", str(lm_run), "--limit", "2"]) == 0
    report = json.loads((lm_run / "report.json").read_text())
    assert set(report) >= {"train_seconds", "updates", "tokens_per_s"}
    assert report["updates"] == 2 and report["tokens_per_s"] > 0 and len(report["sentences"]) == 2
    keys = [said["key"] for said in report["sentences"]]
    assert {f"spoken-{key}.wav" for key in keys} <= {file.name for file in lm_run.glob("*.wav")}
    for said in report["sentences"]:
        sound = soundfile.info(lm_run / f"spoken-{said['key']}.wav")
        assert sound.samplerate == 16000 and abs(sound.duration - said["seconds"]) < 0.01
    assert report["rtf"]["speak"] > 0
    picture = imread(lm_run / "report.png")
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.1
    assert str(lm_run / "report.png") in capsys.readouterr().out
    for name in ("spoken-mine.wav", "recorded-mine.wav", f"spoken-{keys[0]}.txt"):
        (lm_run / name).write_text("mine")
    assert main(["report", str(lm_run), "--source", keys[1], "--target", "3002", "--limit", "1"]) == 0
    left = {file.name for pattern in ("spoken-*", "prompt-*", "recorded-*") for file in lm_run.glob(pattern)}
    ours = {f"{what}-{keys[1]}.wav" for what in ("spoken", "prompt", "recorded")}
    assert left == ours | {"spoken-mine.wav", "recorded-mine.wav", f"spoken-{keys[0]}.txt"}
    said = json.loads((lm_run / "report.json").read_text())["sentences"]
    assert [(s["key"], s["voice"]) for s in said] == [(keys[1], "3002")]
