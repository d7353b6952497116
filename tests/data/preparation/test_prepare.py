"""Preparing: the same bytes however it runs, and what the shards hold."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from tests.data.background import start
from tests.data.speech import digests, librispeech, manifest, samples
from vocolab import audio
from vocolab.data.corpora import BuiltinSpeech, Folder, LibriSpeech
from vocolab.data.preparation import crew, encode, progress, scan
from vocolab.data.preparation import prepare as module
from vocolab.data.preparation.prepare import Prematch, Preparation, prepare
from vocolab.data.shards.index import Index
from vocolab.encoders.mel import Mel
from vocolab.encoders.whisper import Whisper
from vocolab.errors import UsageError, VocolabError

PARTS = "Whisper(), Prematch()"  # of the reference


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return librispeech(tmp_path_factory.mktemp("corpus"), speakers=3, each=5, dev=2)


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory) -> Path:
    """Shards of Whisper features, prematched, made by one worker in this process."""
    return whisper_shards(corpus, tmp_path_factory.mktemp("reference"), Prematch())


def whisper_shards(corpus: Path, shards: Path, prematch: Prematch | None, **options) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "UNIT_SECONDS", 6.0)
        preparation = Preparation(LibriSpeech(corpus), Whisper(), prematch, shard_mb=1)
        return prepare(preparation, shards, **{"workers": 1, "progress": False} | options)


def test_two_workers_killed_twice_end_in_the_same_bytes_as_one(corpus, reference, tmp_path):
    assert len(digests(reference)) >= 4
    shards, moments = tmp_path / "shards", random.Random(7)
    kept = []
    for _ in range(2):
        process = start(PARTS, corpus, shards, slow=0.3)
        at = moments.randint(1, 3)  # lines of progress that this run lives to see
        lines = [line for line, _ in zip(_progress(process), range(at), strict=False)]
        time.sleep(moments.random() * 0.3)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, lines
        assert not (shards / "manifest.json").exists()
        kept.append(len(list((shards / ".work").glob("*/*/item.json"))))
    assert kept == sorted(kept)
    assert kept[-1] > kept[0] > 1  # work was kept, and gone on with
    (shards / ".work" / "tmp" / "rank0" / "stale").mkdir(parents=True, exist_ok=True)
    (shards / ".manifest-0000.tmp.json").write_text("half")
    process = start(PARTS, corpus, shards, OMP_NUM_THREADS="2")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert digests(shards) == digests(reference)
    assert sorted(path.name for path in shards.iterdir()) == ["index", "manifest.json", "train", "val"]


def _progress(process: subprocess.Popen):
    for line in process.stderr:
        if "%" in line:
            yield line


def test_ranks_share_the_work_and_meet_through_files(corpus, reference, tmp_path):
    shards, errors = tmp_path / "shards", []

    def run(rank: int) -> None:
        try:
            whisper_shards(corpus, shards, Prematch(), rank=rank, world=2)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (1, 0)]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert digests(shards) == digests(reference)
    assert not (shards / ".work").exists()


def test_a_rank_waits_no_longer_than_its_patience(corpus, tmp_path):
    with pytest.raises(VocolabError, match="rank 1 waited 0 s for the list of files.*run again"):
        whisper_shards(corpus, tmp_path / "shards", None, rank=1, world=2, patience=0.3)


def test_patience_begins_anew_whenever_a_rank_gets_on(monkeypatch):
    clock = itertools.count()  # a second passes with each look at it
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None))
    beats = iter([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3])
    work = SimpleNamespace(beats=lambda: next(beats), rank=1, shards="out")
    with pytest.raises(VocolabError, match="rank 1 waited 4 s for it"):
        progress.await_others(work, lambda: False, "it", patience=4)
    assert next(beats) == 3  # not before the last sign of life was four seconds old


def test_ranks_come_from_torchrun_or_slurm(monkeypatch):
    from vocolab.data.preparation.crew import share_of_ranks

    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert share_of_ranks(None, None) == (0, 1)
    monkeypatch.setenv("SLURM_PROCID", "2"), monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert share_of_ranks(None, None) == (2, 4)
    monkeypatch.setenv("RANK", "5"), monkeypatch.setenv("WORLD_SIZE", "8")
    assert share_of_ranks(None, None) == (5, 8)
    assert share_of_ranks(1, 2) == (1, 2)


def test_finished_shards_are_left_alone(corpus, reference, monkeypatch):
    monkeypatch.setattr(module, "_Run", None)  # nothing may start
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    assert whisper_shards(corpus, reference, Prematch()) == reference
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before


def test_plain_webdataset_reads_the_shards(corpus, reference):
    found = {split: samples(reference, split) for split in ("train", "val")}
    expected = LibriSpeech(corpus).splits()
    for split, utterances in expected.items():
        assert sorted(found[split]) == [u.key for u in utterances]
        assert manifest(reference)["splits"][split]["samples"] == len(utterances)
        for u in utterances:
            sample = found[split][u.key]
            assert sample["audio.npy"].dtype == np.int16
            assert sample["feats.npy"].dtype == np.float16
            frames = len(sample["audio.npy"]) // 320
            assert sample["feats.npy"].shape == (frames, 384)
            assert len(sample["audio.npy"]) == 320 * frames
            wav, _ = audio.read(u.path, 16000)
            assert 0 <= len(wav) - 320 * frames < 320
            np.testing.assert_allclose(sample["audio.npy"] / 32768, wav[: 320 * frames], atol=2**-15)
            about = sample["json"]
            assert (about["speaker"], about["text"], about["source"]) == (u.speaker, u.text, u.source)
            assert about["seconds"] == frames / 50


def test_the_index_points_at_the_arrays(reference):
    for split in ("train", "val"):
        index, found = Index.open(reference, split), samples(reference, split)
        assert (index.sample_rate, index.hop, index.channels, index.levels) == (16000, 320, 384, 0)
        assert len(index) == len(found)
        for row in index.rows:
            tar = (reference / index.shards[row["shard"]]).read_bytes()
            about = json.loads(tar[row["json_at"] : row["json_at"] + row["json_size"]])
            sample = next(s for s in found.values() if s["json"] == about)
            assert about["speaker"] == index.speakers[row["speaker"]]
            pcm = np.frombuffer(tar, "<i2", row["samples"], row["audio_at"])
            np.testing.assert_array_equal(pcm, sample["audio.npy"])
            feats = np.frombuffer(tar, "<f2", row["frames"] * 384, row["feats_at"]).reshape(-1, 384)
            np.testing.assert_array_equal(feats, sample["feats.npy"])


def test_the_tars_are_anonymous_and_small(reference):
    import tarfile

    for entry in manifest(reference)["shards"]:
        assert (reference / entry["name"]).stat().st_size == entry["bytes"] <= 1.3e6
        with tarfile.open(reference / entry["name"]) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_features_are_those_of_the_encoder_alone(corpus, plain):
    encoder = Whisper()
    for u in LibriSpeech(corpus).splits()["train"][::4]:
        wav, _ = audio.read(u.path, 16000)
        feats = samples(plain, "train")[u.key]["feats.npy"]
        alone = encoder(wav[None])[0, : len(feats)].numpy()
        np.testing.assert_allclose(feats.astype(np.float32), alone, rtol=2e-3, atol=2e-3)


@pytest.fixture(scope="module")
def plain(corpus, tmp_path_factory) -> Path:
    return whisper_shards(corpus, tmp_path_factory.mktemp("plain"), None)


def test_prematched_frames_are_means_of_the_speakers_nearest_other_frames(reference, plain):
    stored, features = ({**samples(s, "train"), **samples(s, "val")} for s in (reference, plain))
    differing = total = 0
    for key, sample in stored.items():
        pool = others(features, sample, key)
        similarity = unit(features[key]["feats.npy"]) @ unit(pool).T
        nearest = np.argsort(-similarity, axis=1)[:, :4]
        expected = pool[nearest].astype(np.float32).mean(1)
        close = np.isclose(sample["feats.npy"].astype(np.float32), expected, rtol=2e-3, atol=2e-3).all(1)
        differing, total = differing + int((~close).sum()), total + len(close)
        assert not np.allclose(sample["feats.npy"], features[key]["feats.npy"], atol=0.1)
    assert total > 2000
    assert differing <= total // 1000  # near ties


def others(features: dict, sample: dict, key: str, chapter: bool = False) -> np.ndarray:
    """Plain features (N, C) of the same speaker's other utterances."""
    same = ("speaker", "chapter") if chapter else ("speaker",)
    chosen = [f for k, f in features.items() if k != key and all(f["json"][n] == sample["json"][n] for n in same)]
    return np.concatenate([f["feats.npy"] for f in chosen])


def unit(feats: np.ndarray) -> np.ndarray:
    feats = feats.astype(np.float64)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


def test_matching_and_synthesis_layers_are_separate(corpus, plain, tmp_path):
    one = Prematch(topk=1, matching_layer=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "UNIT_SECONDS", 6.0)
        layer1 = prepare(Preparation(LibriSpeech(corpus), Whisper(layer=1)), tmp_path / "1", 1, progress=False)
    mixed = whisper_shards(corpus, tmp_path / "mixed", one)
    stored, matched, averaged = (samples(s, "train") for s in (mixed, layer1, plain))
    for key in list(stored)[:3]:
        nearest = (unit(matched[key]["feats.npy"]) @ unit(others(matched, stored[key], key)).T).argmax(1)
        expected = others(averaged, stored[key], key)[nearest]
        assert (stored[key]["feats.npy"] == expected).all(1).mean() > 0.99


def mel(root: Path, shards: Path, **options) -> Path:
    options = {"encoder": Mel(), "corpus": Folder(root, val=0)} | options
    return prepare(Preparation(**options), shards, workers=1, progress=False)


def tone(path: Path, seconds: float = 0.5, rate: int = 16000, pitch: float = 220.0, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_axis = np.arange(round(seconds * rate)) / rate
    wav = 0.5 * np.sin(2 * np.pi * pitch * time_axis) + 0.01 * np.random.default_rng(0).standard_normal(len(time_axis))
    soundfile.write(path, np.repeat(wav[:, None], channels, 1), rate)
    return path


def test_small_pools_keep_plain_features_and_are_counted(tmp_path):
    tone(tmp_path / "in/alone/a.wav")
    for n in range(3):
        tone(tmp_path / f"in/many/{n}.wav", pitch=200 + 50 * n)
    tone(tmp_path / "in/pair/a.wav", seconds=0.5), tone(tmp_path / "in/pair/b.wav", seconds=0.06)
    plain = samples(mel(tmp_path / "in", tmp_path / "plain"), "train")
    prematched = mel(tmp_path / "in", tmp_path / "matched", prematch=Prematch(topk=4))
    assert manifest(prematched)["unmatched"] == {
        "utterances": 2, "speakers": ["alone", "pair"], "keys": ["alone-a", "pair-a"]
    }  # fmt: skip
    for key, sample in samples(prematched, "train").items():
        same = np.array_equal(sample["feats.npy"], plain[key]["feats.npy"])
        assert same == (key in ("alone-a", "pair-a"))


def test_pool_by_chapter(corpus, tmp_path):
    root = tmp_path / "in/train-clean-100"
    for chapter in ("1", "2"):
        for n in range(2):
            tone(root / f"7/{chapter}/7-{chapter}-{n}.wav", pitch=200 * int(chapter) + 30 * n)
    corpus = LibriSpeech(tmp_path / "in", val=())
    plain = samples(mel(None, tmp_path / "plain", corpus=corpus), "train")
    found = samples(mel(None, tmp_path / "c", corpus=corpus, prematch=Prematch(topk=1, pool="chapter")), "train")
    for key, sample in found.items():
        pool = others(plain, sample, key, chapter=True)
        assert len(pool) == 25
        assert all((pool == frame).all(1).any() for frame in sample["feats.npy"])


def test_a_held_out_utterance_is_matched_with_training_speech_and_never_the_reverse(tmp_path):
    for n in range(4):
        tone(tmp_path / f"in/s/{n}.wav", pitch=200 + 40 * n)
    corpus = Folder(tmp_path / "in", val=["s-3"])
    plain = mel(None, tmp_path / "plain", corpus=corpus)
    found = mel(None, tmp_path / "found", corpus=corpus, prematch=Prematch(topk=1))
    training = np.concatenate([s["feats.npy"] for s in samples(plain, "train").values()])
    assert manifest(found)["unmatched"]["utterances"] == 0
    for split in ("train", "val"):
        for sample in samples(found, split).values():
            assert all((training == frame).all(1).any() for frame in sample["feats.npy"])


def test_a_capped_pool_is_a_seeded_choice(tmp_path):
    for n in range(4):
        tone(tmp_path / f"in/s/{n}.wav", seconds=0.5, pitch=200 + 40 * n)
    prematch = Prematch(topk=2, max_pool_frames=30)
    shards = [mel(tmp_path / "in", tmp_path / str(n), prematch=prematch, seed=n // 2) for n in range(3)]
    assert digests(shards[0]) == digests(shards[1]) != digests(shards[2])
    plain = samples(mel(tmp_path / "in", tmp_path / "plain"), "train")
    pool = np.concatenate([s["feats.npy"] for s in plain.values()]).astype(np.float32)
    means = (pool[:, None] + pool[None]) / 2
    used = set()
    for sample in samples(shards[0], "train").values():
        for frame in sample["feats.npy"].astype(np.float32):
            distance = np.abs(means - frame).max(-1)
            assert distance.min() < 5e-3
            used |= set(np.unravel_index(distance.argmin(), distance.shape))
    assert 2 <= len(used) <= 30


def test_a_script_that_its_own_workers_run_is_told_so(corpus, tmp_path, monkeypatch):
    """Python marks a process so while it imports the script of the one that started it."""
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(VocolabError, match="a worker process prepares too: .*: prepare: put them under `if __name__"):
        prepare(Preparation(LibriSpeech(corpus), Mel()), tmp_path / "shards")
    assert list(tmp_path.iterdir()) == []


def test_files_of_no_use_are_skipped_with_the_reason(tmp_path):
    folder = tmp_path / "in/s"
    tone(folder / "good.wav"), tone(folder / "other.wav", pitch=300)
    soundfile.write(folder / "silence.wav", np.zeros(8000), 16000)
    soundfile.write(folder / "no-samples.wav", np.zeros(0), 16000)
    soundfile.write(folder / "short.wav", np.zeros(399), 16000)
    soundfile.write(folder / "just-enough.wav", np.zeros(400), 16000)
    soundfile.write(folder / "short48k.flac", np.zeros(1199), 48000)
    soundfile.write(folder / "nan.wav", np.full(8000, np.nan), 16000, subtype="FLOAT")
    (folder / "zero-bytes.wav").write_bytes(b"")
    (folder / "text.flac").write_text("this is no sound")
    cut = tone(folder / "cut.flac", seconds=3).read_bytes()
    (folder / "cut.flac").write_bytes(cut[: len(cut) // 2])
    found = manifest(mel(tmp_path / "in", tmp_path / "out"))
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in found["skipped"]}
    assert sorted(samples(tmp_path / "out", "train")) == sorted(
        key for key in (u.key for u in Folder(tmp_path / "in", val=0).splits()["train"])
        if key.startswith(("s-good", "s-other", "s-silence", "s-just-enough"))
    )  # fmt: skip
    assert found["splits"]["train"]["samples"] == 4
    assert {name for name, reason in reasons.items() if "too short" in reason} == {"short.wav", "short48k.flac"}
    assert reasons["no-samples.wav"] == "empty"
    assert "not finite" in reasons["nan.wav"]
    assert "not a readable sound file" in reasons["text.flac"]
    assert "cut.flac" in reasons and "zero-bytes.wav" in reasons
    assert len(reasons) == 7


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_formats_and_names_at_the_edge_of_what_is_read(tmp_path):
    """Each is read, or skipped for a reason of its own; none ends the preparation."""
    folder = tmp_path / "in/s"
    tone(folder / "good.wav")
    try:
        tone(folder / "b.wav").rename(folder / os.fsdecode(b"caf\xe9.wav"))
        (folder / os.fsdecode(b"bad\xe9.wav")).write_text("this is no sound")
    except OSError:
        pytest.skip("the file system takes no such name")
    samples_in = soundfile.read(folder / "good.wav")[0]
    soundfile.write(folder / "gsm.wav", samples_in, 16000, subtype="GSM610")
    soundfile.write(folder / "ints.wav", samples_in * 32768, 16000, subtype="FLOAT")
    folder.rename(folder.with_name(os.fsdecode(b"sp\xe9aker")))
    found = manifest(mel(tmp_path / "in", tmp_path / "out"))
    assert found["splits"]["train"]["samples"] == 3
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in found["skipped"]}
    assert len(reasons) == 2 and "far beyond ±1" in reasons["ints.wav"]
    assert "not a readable" in reasons[os.fsdecode(b"bad\xe9.wav")]


def test_every_file_unreadable_is_an_error(tmp_path):
    (tmp_path / "in/s").mkdir(parents=True)
    (tmp_path / "in/s/a.wav").write_text("no sound")
    with pytest.raises(VocolabError, match="none of 1 files can be used: s/a.wav .not a readable.*--data.corpus"):
        mel(tmp_path / "in", tmp_path / "out")
    soundfile.write(tmp_path / "in/s/b.wav", np.full(8000, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(VocolabError, match="none of 2 files can be used: s/b.wav .*not finite"):
        mel(tmp_path / "in", tmp_path / "out")
    tone(tmp_path / "in/s/b.wav")  # mended: the next run looks again
    assert manifest(mel(tmp_path / "in", tmp_path / "out"))["splits"]["train"]["samples"] == 1


def test_a_disk_too_small_is_refused_before_anything_is_encoded(tmp_path, monkeypatch, capsys):
    for n in range(3):
        tone(tmp_path / f"in/s/{n}.wav", seconds=10)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, 10**6))
    with pytest.raises(VocolabError, match=r"disk too small: 2.\d MB needed, 1.0 MB free.*--data.shards"):
        prepare(Preparation(Folder(tmp_path / "in", val=0), Mel()), tmp_path / "out", workers=1)
    assert not list((tmp_path / "out").rglob("*.npy"))
    assert "3 utterances, 0.0 h: 1.2 MB of shards" in capsys.readouterr().err
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, 3 * 10**6))
    shards = mel(tmp_path / "in", tmp_path / "out")
    size = sum(path.stat().st_size for path in shards.rglob("*.tar"))
    assert size == pytest.approx(1.2e6, rel=0.05)  # what was announced


def test_stereo_of_another_rate_becomes_mono(tmp_path):
    tone(tmp_path / "in/s/a.wav", seconds=1, rate=44100, channels=2)
    sample = samples(mel(tmp_path / "in", tmp_path / "out"), "train")["s-a"]
    assert sample["audio.npy"].shape == (16000,)
    assert sample["feats.npy"].shape == (50, 80)
    spectrum = np.abs(np.fft.rfft(sample["audio.npy"]))
    assert spectrum.argmax() == 220


@pytest.mark.parametrize(("rate", "hop"), [(24000, 480), (44100, 882), (48000, 960)])
def test_audio_at_another_rate_than_the_encoders(tmp_path, rate, hop):
    tone(tmp_path / "in/s/a.wav", seconds=0.73, rate=48000)
    shards = mel(tmp_path / "in", tmp_path / "out", sample_rate=rate)
    sample, index = samples(shards, "train")["s-a"], Index.open(shards, "train")
    assert (index.sample_rate, index.hop) == (rate, hop)
    assert sample["feats.npy"].shape == (36, 80)
    assert sample["audio.npy"].shape == (36 * hop,)
    assert np.abs(np.fft.rfft(sample["audio.npy"])).argmax() == pytest.approx(220 * 0.72, abs=1)


def test_a_rate_without_whole_hops_is_refused():
    with pytest.raises(UsageError, match="would be 220.5 samples at 11025 Hz.*multiple of 50, as 11000 or 11050"):
        Preparation(BuiltinSpeech(), Mel(), sample_rate=11025)


def test_sixteen_bit_audio_comes_out_as_it_was(tmp_path):
    pcm = np.random.default_rng(0).integers(-32768, 32768, 3200).astype(np.int16)
    pcm[:2] = -32768, 32767
    (tmp_path / "in/s").mkdir(parents=True)
    soundfile.write(tmp_path / "in/s/a.flac", pcm, 16000)
    np.testing.assert_array_equal(samples(mel(tmp_path / "in", tmp_path / "out"), "train")["s-a"]["audio.npy"], pcm)


def test_without_an_encoder_the_shards_hold_audio_alone(tmp_path):
    tone(tmp_path / "in/s/a.wav", seconds=0.3333)
    shards = mel(tmp_path / "in", tmp_path / "out", encoder=None)
    sample, index = samples(shards, "train")["s-a"], Index.open(shards, "train")
    assert set(sample) >= {"audio.npy", "json"} and "feats.npy" not in sample
    assert sample["audio.npy"].shape == (5333,)
    assert (index.hop, index.channels, index.rows["frames"][0], index.rows["feats_at"][0]) == (1, 0, 5333, 0)


def test_shards_mix_speakers_in_groups_of_up_to_eight(tmp_path):
    for speaker in "abcd":
        for n in range(20):
            tone(tmp_path / f"in/{speaker}/{n:02d}.wav", seconds=0.1)
    order = [s["json"]["speaker"] for s in samples(mel(tmp_path / "in", tmp_path / "out"), "train").values()]
    changes = [a != b for a, b in zip(order, order[1:], strict=False)]
    assert 8 <= sum(changes) <= 11  # 12 groups: 8 + 8 + 4 utterances of each of four speakers
    keys = list(samples(tmp_path / "out", "train"))
    assert keys != sorted(keys)


def test_a_failing_worker_process_is_one_line(tmp_path):
    for n in range(2):
        tone(tmp_path / f"in/{n}/a.wav")
    with pytest.raises(VocolabError, match="layer 9.*the checkpoint has layers 0 to 2") as error:
        prepare(Preparation(Folder(tmp_path / "in", val=0), Whisper(layer=9)), tmp_path / "out", 2, progress=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out/manifest.json").exists()


def test_an_output_that_cannot_be_written_is_one_line(tmp_path):
    tone(tmp_path / "in/s/a.wav")
    (tmp_path / "file").write_text("")
    with pytest.raises(VocolabError, match="cannot write.*--data.shards"):
        mel(tmp_path / "in", tmp_path / "file" / "out")


def test_threads_of_this_process_stay_as_they_were(tmp_path):
    tone(tmp_path / "in/s/a.wav")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoder = Whisper()
        mel(tmp_path / "in", tmp_path / "out", encoder=encoder)
        assert torch.get_num_threads() == 2
        assert encoder.blocks is None  # it worked on a copy, so the caller's holds no weights
    finally:
        torch.set_num_threads(before)


def test_checking_names_the_keys_that_differ(corpus, reference, tmp_path):
    wanted = Preparation(LibriSpeech(corpus), Whisper(layer=1), Prematch(topk=8), shard_mb=1)
    with pytest.raises(VocolabError) as error:
        prepare(wanted, reference)
    line = str(error.value)
    assert "encoder.init_args.layer (2, wanted 1)" in line
    assert "prematch.topk (4, wanted 8)" in line
    assert "corpus" not in line and "weights" not in line
    assert str(reference) in line and "--data.shards" in line


def test_an_unfinished_preparation_of_another_spec_is_not_gone_on_with(tmp_path, monkeypatch):
    tone(tmp_path / "in/s/a.wav")
    monkeypatch.setattr(module, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mel(tmp_path / "in", tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(VocolabError, match=r"encoder.init_args.n_mels \(80, wanted 40\).*choose another --data.shards"):
        mel(tmp_path / "in", tmp_path / "out", encoder=Mel(n_mels=40))
    assert len(samples(mel(tmp_path / "in", tmp_path / "out"), "train")) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_disk_that_refuses_leaves_no_half_shard(tmp_path):
    for n in range(4):
        tone(tmp_path / f"in/s/{n}.wav", seconds=2)
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "from vocolab.data.preparation.prepare import *\n"
        "from vocolab.data.corpora import *; from vocolab.encoders import Mel\n"
        "prepare(Preparation(Folder(sys.argv[1], val=0), Mel()), sys.argv[2], 1)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "in"), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "VocolabError: cannot write" in ended.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*/*.tar"))
    assert not (tmp_path / "out/manifest.json").exists()
    assert len(samples(mel(tmp_path / "in", tmp_path / "out"), "train")) == 4


def test_batches_hold_similar_lengths_and_long_ones_alone():
    lengths = [16000 * s for s in (70, 5, 31, 4, 4, 65, 1)]
    speeches = [encode.Speech(n, np.zeros(0, np.int16), torch.zeros(length)) for n, length in enumerate(lengths)]
    found = [[len(s.wav) // 16000 for s in batch] for batch in encode.batches(speeches, Mel(), 32.0)]
    assert found == [[70], [65], [31], [5, 4, 4, 1]]


def test_long_utterances_are_encoded_as_conversion_does(tmp_path, monkeypatch):
    """Piece by piece beyond what the encoder hears at once."""
    tone(tmp_path / "in/s/a.wav", seconds=3)
    monkeypatch.setattr(Whisper, "chunk_seconds", 1.0)
    pieces = samples(mel(tmp_path / "in", tmp_path / "pieces", encoder=Whisper()), "train")["s-a"]["feats.npy"]
    encoder = Whisper().load()
    with torch.inference_mode():
        (expected,) = encoder.encode_long(audio.read(tmp_path / "in/s/a.wav", 16000)[0])
    np.testing.assert_allclose(pieces.astype(np.float32), expected.numpy()[: len(pieces)], atol=2e-2)
    whole = samples(mel(tmp_path / "in", tmp_path / "whole"), "train")["s-a"]["feats.npy"]
    assert len(pieces) == len(whole) == 150


def test_a_corpus_that_goes_away_is_no_skipped_file(tmp_path):
    """Shards without the files of a lost mount would look finished."""
    for name in ("a", "b"):
        tone(tmp_path / f"in/s/{name}.wav")
    preparation = Preparation(Folder(tmp_path / "in", val=0.0), Mel())
    assert isinstance(encode.read(preparation, 0, tmp_path / "in/s/a.wav"), encode.Speech)
    with pytest.raises(VocolabError, match="file is gone.*run again to go on"):
        encode.read(preparation, 0, tmp_path / "in/s/gone.wav")


def test_features_that_are_no_numbers_are_left_out(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        tone(tmp_path / f"in/s/{name}.wav", seconds=1.0 if name == "b" else 0.5)
    layers = Mel.layers

    def overflowing(self, wav, lengths=None, layers_=None):
        found = layers(self, wav, lengths, layers_)
        return [feats.masked_fill((lengths > 12000)[:, None, None], torch.inf) for feats in found]

    monkeypatch.setattr(Mel, "layers", overflowing)
    shards = prepare(Preparation(Folder(tmp_path / "in", val=0.0), Mel()), tmp_path / "out", workers=1)
    assert manifest(shards)["skipped"] == [{"path": "s/b.wav", "reason": "features are not finite"}]
    assert set(samples(shards, "train")) == {"s-a", "s-c"}


def test_a_split_that_loses_all_its_files_is_an_error(tmp_path):
    tone(tmp_path / "in/s/good.wav")
    (tmp_path / "in/s/bad.wav").write_bytes((tmp_path / "in/s/good.wav").read_bytes()[:600])
    preparation = Preparation(Folder(tmp_path / "in", val=["s/good.wav"]), Mel())
    with pytest.raises(VocolabError, match="none of .* can be used"):
        prepare(preparation, tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_two_preparations_of_one_folder_take_turns(tmp_path, monkeypatch):
    """Two runs on the same data started together: the second waits, and finds the shards made."""
    tone(tmp_path / "in/s/a.wav")
    encoded, go_on = [], threading.Event()
    encode_batch = encode.encode_batch

    def slow(*args):
        encoded.append(1)
        go_on.wait(30)
        return encode_batch(*args)

    monkeypatch.setattr(encode, "encode_batch", slow)
    preparation = Preparation(Folder(tmp_path / "in", val=0.0), Mel())
    runs = [threading.Thread(target=prepare, args=(preparation, tmp_path / "out", 1)) for _ in range(2)]
    for thread in runs:
        thread.start()
    time.sleep(0.5)
    go_on.set()
    for thread in runs:
        thread.join(60)
    assert len(encoded) == 1 and set(samples(tmp_path / "out", "train")) == {"s-a"}


def test_files_that_a_decoder_fails_on_are_skipped_one_by_one(tmp_path):
    """GSM 6.10 cannot be seeked in, and is read; of a truncated file its own format decides."""
    folder = tmp_path / "in/s"
    tone(folder / "good.wav")
    soundfile.write(folder / "gsm.wav", np.sin(np.arange(16000) / 10) / 4, 8000, subtype="GSM610")
    for name in ("cut.flac", "cut.wav"):
        data = tone(folder / name, seconds=3).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "header.ogg").write_bytes(tone(folder / "header.ogg").read_bytes()[:60])
    found = manifest(mel(tmp_path / "in", tmp_path / "out"))
    assert [entry["path"] for entry in found["skipped"]] == ["s/cut.flac", "s/cut.wav", "s/header.ogg"]
    gsm = samples(tmp_path / "out", "train")["s-gsm"]
    assert gsm["json"]["seconds"] == pytest.approx(2, abs=0.05) and np.abs(gsm["audio.npy"]).max() > 6000


def test_what_is_on_disk_already_is_not_asked_of_it_again(tmp_path, monkeypatch):
    tone(tmp_path / "in/s/a.wav", seconds=10)
    done = tmp_path / "out/.work/encoded/999999"
    done.mkdir(parents=True)
    (done / "audio.npy").write_bytes(bytes(10**6))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, 10**5))
    assert manifest(mel(tmp_path / "in", tmp_path / "out"))["splits"]["train"]["samples"] == 1


def test_units_are_no_longer_than_their_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "UNIT_SECONDS", 1.0)
    for n, seconds in enumerate((0.4, 0.4, 0.4, 1.5, 0.4)):
        tone(tmp_path / f"s/{n}.wav", seconds=seconds)
    found = scan.scan(Preparation(Folder(tmp_path, val=0), Mel()))
    assert [unit[2] for unit in found["units"]] == [[0, 1], [2], [3], [4]]


def test_samples_are_rounded_to_the_nearest_and_clipped():
    wav = torch.tensor([0.6, -0.6, 0.4, 32767.4, 32768, -32768, -40000]) / 32768
    assert encode.to_int16(wav).tolist() == [1, -1, 0, 32767, 32767, -32768, -32768]


def test_a_pool_of_just_enough_frames_is_matched(tmp_path):
    tone(tmp_path / "in/s/a.wav"), tone(tmp_path / "in/s/b.wav", pitch=300)
    frames = int(Index.open(mel(tmp_path / "in", tmp_path / "plain"), "train").rows["frames"][0])
    for topk, plain in ((frames, 0), (frames + 1, 2)):
        found = manifest(mel(tmp_path / "in", tmp_path / str(topk), prematch=Prematch(topk=topk)))
        assert found["unmatched"]["utterances"] == plain


def test_ranks_of_a_machine_share_its_gpus(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert crew.devices("auto", 2) == ["cuda:2", "cuda:3"] and crew.devices("cuda", None) == ["cuda:1"]
    assert crew.devices("cuda:3", None) == ["cuda:3"] and crew.devices("cpu", 3) == ["cpu"] * 3
