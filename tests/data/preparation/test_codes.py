"""Preparing codes and symbols: the same bytes however it runs, and nothing of what is held out in training."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from tests.data.background import start
from tests.data.parts import Letters, Loudness, Quantiles
from tests.data.speech import digests, librispeech, manifest, samples
from vocolab import audio
from vocolab.codecs import KMeansCodec
from vocolab.data.batches import Utterances
from vocolab.data.corpora import Folder, LibriSpeech
from vocolab.data.module import SpeechDataModule
from vocolab.data.preparation import fit, scan
from vocolab.data.preparation import prepare as module
from vocolab.data.preparation.prepare import Preparation, prepare
from vocolab.data.shards.index import Index
from vocolab.data.shards.manifest import check_shards
from vocolab.encoders import Mel, Whisper
from vocolab.errors import UsageError, VocolabError
from vocolab.text import Characters, SymbolMap

PARTS = 'codec=Quantiles(log=""), text=Letters()'  # of the reference


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return librispeech(tmp_path_factory.mktemp("corpus"), speakers=3, each=4, dev=2)


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory) -> Path:
    """Shards of a fitted codec's codes and of letters, made by one worker in this process."""
    return quantile_shards(corpus, tmp_path_factory.mktemp("reference"))


def quantile_shards(corpus: Path, shards: Path, **options) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "UNIT_SECONDS", 6.0)
        preparation = Preparation(LibriSpeech(corpus), codec=Quantiles(), text=Letters(), shard_mb=1)
        return prepare(preparation, shards, **{"workers": 1, "progress": False} | options)


def everything(shards: Path) -> tuple:
    """All that must be the same: the tars, the codec's state, the symbols."""
    found = manifest(shards)
    return digests(shards), found["codec"], found["symbols"], found["unknown_symbols"]


def tone(path: Path, seconds: float = 0.5, level: float = 0.25, text: str | None = "a b", rate: int = 16000) -> Path:
    """A square wave: each frame's mean magnitude is `level`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, level * np.where(np.arange(round(seconds * rate)) // 40 % 2, 1.0, -1.0), rate)
    if text is not None:
        path.with_suffix(".txt").write_text(text)
    return path


def make(root: Path, shards: Path, val=0.0, **options) -> Path:
    options = {"codec": Loudness(), "text": Letters()} | options
    return prepare(Preparation(Folder(root, val=val), **options), shards, workers=1, progress=False)


def test_killed_while_encoding_two_workers_end_in_the_same_bytes_as_one(corpus, reference, tmp_path):
    shards = tmp_path / "shards"
    process = start(PARTS, corpus, shards, slow=0.5, OMP_NUM_THREADS="2")
    assert any("encoded" in line for line in process.stderr)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (shards / "manifest.json").exists()
    assert len(list((shards / ".work").glob("encoded/*/item.json"))) in range(1, 8)
    process = start(PARTS, corpus, shards, OMP_NUM_THREADS="2")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert everything(shards) == everything(reference)
    names = ["codec.safetensors", "index", "manifest.json", "train", "val"]
    assert sorted(path.name for path in shards.iterdir()) == names


def test_a_fit_that_ends_early_is_done_again_and_a_finished_one_is_not(corpus, reference, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Quantiles, "fit", lambda self, speech: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            quantile_shards(corpus, tmp_path / "shards")
    assert not (tmp_path / "shards/.work/fitted").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            quantile_shards(corpus, tmp_path / "shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Quantiles, "fit", lambda self, speech: 1 / 0)
        quantile_shards(corpus, tmp_path / "shards")
    assert everything(tmp_path / "shards") == everything(reference)


def test_ranks_wait_for_the_first_to_fit(corpus, reference, tmp_path):
    errors = []

    def run(rank: int) -> None:
        try:
            quantile_shards(corpus, tmp_path / "shards", rank=rank, world=2)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (1, 0)]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join(120)
    assert errors == [] and everything(tmp_path / "shards") == everything(reference)


def test_plain_webdataset_reads_codes_and_symbols(corpus, reference):
    codec = fit.load_state(Quantiles(), reference / "codec.safetensors")
    for split, utterances in LibriSpeech(corpus).splits().items():
        found = samples(reference, split)
        assert sorted(found) == [u.key for u in utterances]
        for u in utterances:
            sample, (wav, _) = found[u.key], audio.read(u.path, 16000)
            codes = sample["codes.npy"]
            assert codes.dtype == np.int16 and codes.shape == (2, -(-len(wav) // 400))
            np.testing.assert_array_equal(codes, codec.encode(wav[None])[0])
            pcm = sample["audio.npy"]
            assert len(pcm) == 400 * codes.shape[1] and not pcm[len(wav) :].any()
            np.testing.assert_allclose(pcm[: len(wav)] / 32768, wav, atol=2**-15)
            assert sample["json"]["phonemes"] == list(u.text.lower()) and sample["json"]["text"] == u.text
            assert set(sample) >= {"audio.npy", "codes.npy", "json"} and "feats.npy" not in sample


def test_the_index_points_at_the_codes_and_knows_the_lengths(reference):
    for split in ("train", "val"):
        index, found = Index.open(reference, split), samples(reference, split)
        assert (index.sample_rate, index.hop, index.channels, index.levels, index.size) == (16000, 400, 0, 2, 32)
        for row in index.rows:
            tar = (reference / index.shards[row["shard"]]).read_bytes()
            about = json.loads(tar[row["json_at"] : row["json_at"] + row["json_size"]])
            sample = next(s for s in found.values() if s["json"] == about)
            codes = np.frombuffer(tar, "<i2", 2 * row["frames"], row["codes_at"]).reshape(2, -1)
            np.testing.assert_array_equal(codes, sample["codes.npy"])
            assert row["symbols"] == len(about["phonemes"]) + 2 and row["samples"] == 400 * row["frames"]


def test_the_manifest_says_what_the_codes_and_symbols_are(corpus, reference):
    found = manifest(reference)
    texts = [u.text.lower() for u in LibriSpeech(corpus).splits()["train"]]
    assert found["symbols"] == ["<unk>", "<s>", "</s>", " ", *sorted({s for text in texts for s in text} - {" "})]
    assert SymbolMap(found["symbols"]).ids(" ") == [1, 3, 2]
    state = found["codec"].pop("state")
    assert found["codec"] == {"levels": 2, "size": 32, "sample_rate": 16000, "hop": 400}
    assert state["name"] == "codec.safetensors" and state["bytes"] == (reference / state["name"]).stat().st_size


def test_the_codec_is_fitted_on_the_training_split_alone(tmp_path):
    for n in range(6):
        tone(tmp_path / f"in/s/{n}.wav", seconds=0.5 + n / 10, level=0.1 + n / 20)
    tone(tmp_path / "in/s/held.wav", seconds=0.35, level=0.9), tone(tmp_path / "in/s/unread.wav").write_bytes(b"RIFF")
    log = tmp_path / "log.npy"
    shards = make(tmp_path / "in", tmp_path / "out", val=["s-held"], codec=Quantiles(log=str(log)))
    heard = sorted((np.load(log) / 16000).round(2).tolist())
    assert heard == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    edges = load_file(shards / "codec.safetensors")["edges"]
    assert 0.099 < edges.min() and edges.max() < 0.36  # the held-out level is no part of it
    assert [entry["path"] for entry in manifest(shards)["skipped"]] == ["s/unread.wav"]


def test_no_held_out_code_is_in_a_training_shard(tmp_path):
    """Each utterance has a loudness, so codes, of its own."""
    for n in range(10):
        tone(tmp_path / f"in/s/{n}.wav", level=0.05 + n / 32)
    shards = make(tmp_path / "in", tmp_path / "out", val=["s-3"], codec=Loudness(size=128))
    held = {tuple(codes) for s in samples(shards, "val").values() for codes in s["codes.npy"].T}
    train = {tuple(codes) for s in samples(shards, "train").values() for codes in s["codes.npy"].T}
    assert held and train and not held & train
    assert set(samples(shards, "train")) == {f"s-{n}" for n in range(10) if n != 3}


def test_the_same_seed_fits_the_same_codec_and_the_caller_s_stays_as_it_was(tmp_path):
    for n in range(3):
        tone(tmp_path / f"in/s/{n}.wav", level=0.1 + n / 5, seconds=0.3 + n / 7)
    torch.manual_seed(5)
    before, codec = torch.get_rng_state(), Quantiles()
    one = make(tmp_path / "in", tmp_path / "1", codec=codec)
    assert torch.equal(torch.get_rng_state(), before) and not codec.fitted
    torch.manual_seed(6)
    assert everything(make(tmp_path / "in", tmp_path / "2", codec=Quantiles())) == everything(one)
    other = make(tmp_path / "in", tmp_path / "3", codec=Quantiles(), seed=1)
    assert manifest(other)["codec"]["state"] != manifest(one)["codec"]["state"]


def test_a_codec_that_needs_no_fitting_leaves_no_state(tmp_path):
    tone(tmp_path / "in/s/a.wav")
    shards = make(tmp_path / "in", tmp_path / "out")
    assert "state" not in manifest(shards)["codec"] and not (shards / "codec.safetensors").exists()


def test_a_state_that_is_gone_or_another_one_is_refused(corpus, reference, tmp_path):
    import shutil

    shutil.copytree(reference, tmp_path / "out")
    state = tmp_path / "out" / "codec.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[:-1] + b"\1")
    with pytest.raises(VocolabError, match="the codec is not the one that made these codes.*codec.safetensors"):
        check_shards(tmp_path / "out")
    state.write_bytes(whole[:40])
    with pytest.raises(VocolabError, match="no state of this Quantiles") as error:
        fit.load_state(Quantiles(), state)
    assert "\n" not in str(error.value)
    state.write_bytes(whole)
    for codec in (Quantiles(size=16), Loudness()):
        with pytest.raises(VocolabError, match="state of .*codec.safetensors"):
            fit.load_state(codec, state)
    state.unlink()
    with pytest.raises(VocolabError, match="the fitted codec is missing.*prepare"):
        check_shards(tmp_path / "out")


def test_utterances_without_a_text_to_say_are_skipped_with_the_reason(tmp_path):
    texts = {"good": "yes", "none": None, "empty": "", "blank": " \n", "hash": "no # sign"}
    for name, text in texts.items():
        tone(tmp_path / f"in/s/{name}.wav", text=text)
    found = manifest(make(tmp_path / "in", tmp_path / "out"))
    reasons = {Path(entry["path"]).stem: entry["reason"] for entry in found["skipped"]}
    assert reasons == {
        "none": "no text", "empty": "no text", "blank": "no text", "hash": "text: nobody knows how to say #"
    }  # fmt: skip
    assert set(samples(tmp_path / "out", "train")) == {"s-good"} and found["splits"]["train"]["samples"] == 1
    without = make(tmp_path / "in", tmp_path / "without", text=None)  # nobody asked for it
    assert len(samples(without, "train")) == 5 and "symbols" not in manifest(without)
    assert not Index.open(without, "train").rows["symbols"].any()


def test_a_corpus_without_any_text_is_one_line(tmp_path):
    tone(tmp_path / "in/s/a.wav", text=None)
    with pytest.raises(VocolabError, match=r"none of 1 files can be used: s/a.wav .no text.: check --data.corpus"):
        make(tmp_path / "in", tmp_path / "out")
    tone(tmp_path / "in/s/a.wav", text="#")
    with pytest.raises(VocolabError, match="none of 1 files can be used: s/a.wav .text: nobody knows"):
        make(tmp_path / "in", tmp_path / "out")


def test_symbols_come_from_training_and_unknown_ones_are_counted(tmp_path):
    tone(tmp_path / "in/s/a.wav", text="bad cab"), tone(tmp_path / "in/s/held.wav", text="deadz zz")
    found = manifest(make(tmp_path / "in", tmp_path / "out", val=["s-held"]))
    assert found["symbols"][4:] == ["a", "b", "c", "d"] and found["languages"] == []
    assert found["unknown_symbols"] == {"val": {"e": 1, "z": 3}}


def test_held_out_texts_that_no_model_of_the_training_could_say_are_skipped(tmp_path):
    texts = {"a": "bad cab.", "known": "bad!", "half": "dxx", "cyrillic": "да. да", "marks": "?¡", "dot": "."}
    for name, text in texts.items():
        tone(tmp_path / f"in/s/{name}.wav", text=text)
    held = ["s-half", "s-cyrillic", "s-marks", "s-dot"]
    shards = make(tmp_path / "in", tmp_path / "out", val=held, text=Characters())
    found = manifest(shards)
    reason = "text: none of its letters is in the training texts"
    assert found["skipped"] == [{"path": f"s/{name}.wav", "reason": reason} for name in ("cyrillic", "marks")]
    assert found["splits"]["val"]["samples"] == 2 and set(samples(shards, "val")) == {"s-half", "s-dot"}
    assert found["unknown_symbols"] == {"val": {"x": 2}}
    assert len(Index.open(shards, "val")) == 2
    tone(tmp_path / "one/s/b.wav", text="b")
    for text in ("да", "#"):  # the one is found out when all are read, the other at once
        tone(tmp_path / "one/s/half.wav", text=text)
        with pytest.raises(VocolabError, match="none of 1 files of split 'val' can be used: s/half.wav .text: "):
            make(tmp_path / "one", tmp_path / text, val=["s-half"])
    tone(tmp_path / "one/s/half.wav", text="да")
    with pytest.MonkeyPatch.context() as patch:  # nothing is held against texts where there is no training
        patch.setattr(Folder, "splits", lambda self, own=Folder.splits: {"val": own(self)["train"]})
        assert set(samples(make(tmp_path / "one", tmp_path / "all"), "val")) == {"s-half", "s-b"}


def test_the_fate_of_unknown_symbols_is_said(tmp_path, caplog):
    tone(tmp_path / "in/s/a.wav", text="bad cab"), tone(tmp_path / "in/s/held.wav", text="b, ae - é!!")
    folder = str(make(tmp_path / "in", tmp_path / "out", val=["s-held"]))
    data = SpeechDataModule(Folder(tmp_path / "in", val=["s-held"]), codec=Loudness(), text=Letters(), shards=folder)
    data.batches = Utterances(size=1)
    data.train_dataloader()
    lines = [r.message.partition(": symbols ")[2] for r in caplog.records if "train lacks" in r.message]
    assert lines == [
        "of val that train lacks are left out: '!'×2 ','×1 '-'×1",
        "of val that train lacks become <unk>: 'e'×1 'é'×1",
    ]
    (batch,) = data.val_dataloader()
    assert batch.text.tolist() == [[1, 5, 3, 4, 0, 3, 0, 2]]  # "b ae é", of `abcd` after the four special ones


def test_text_alone_and_features_with_text(tmp_path):
    tone(tmp_path / "in/s/a.wav")
    sample = samples(make(tmp_path / "in", tmp_path / "1", codec=None), "train")["s-a"]
    assert sample["json"]["phonemes"] == ["a", " ", "b"] and "codes.npy" not in sample
    shards = make(tmp_path / "in", tmp_path / "2", codec=None, encoder=Mel())
    assert samples(shards, "train")["s-a"]["feats.npy"].shape == (25, 80)
    assert Index.open(shards, "train").rows["symbols"].tolist() == [5]


@pytest.mark.parametrize(("rate", "hop"), [(None, 480), (16000, 320), (48000, 960)])
def test_audio_follows_the_codec(tmp_path, rate, hop):
    tone(tmp_path / "in/s/a.wav", seconds=0.73, rate=44100)
    shards = make(tmp_path / "in", tmp_path / "out", codec=Loudness(sample_rate=24000, hop=480), sample_rate=rate)
    index, sample = Index.open(shards, "train"), samples(shards, "train")["s-a"]
    assert (index.sample_rate, index.hop) == (rate or 24000, hop)
    assert sample["codes.npy"].shape == (3, 37) and sample["audio.npy"].shape == (37 * hop,)
    assert np.abs(sample["audio.npy"][: 30 * hop]).mean() == pytest.approx(0.25 * 32768, rel=0.05)


def test_what_does_not_go_together_is_refused():
    corpus = Folder("x")
    with pytest.raises(UsageError, match="an encoder or of a codec.*leave one of them out"):
        Preparation(corpus, encoder=Mel(), codec=Loudness())
    with pytest.raises(UsageError, match="40000 codes a codebook.*at most 32768"):
        Preparation(corpus, codec=Loudness(size=40000))
    with pytest.raises(UsageError, match="275.625 samples at 11025 Hz.*multiple of 40"):
        Preparation(corpus, codec=Loudness(), sample_rate=11025)


def test_a_codec_that_breaks_its_word_is_one_line(tmp_path, monkeypatch):
    tone(tmp_path / "in/s/a.wav")
    with monkeypatch.context() as patch:
        patch.setattr(Loudness, "frames", lambda self, samples: samples // self.hop + 2)
        with pytest.raises(VocolabError, match=r"codes \(3, 20\) of 8000 samples, expected \(3, 22\): Loudness"):
            make(tmp_path / "in", tmp_path / "1")
    monkeypatch.setattr(Loudness, "encode", lambda self, wav, lengths: torch.full((len(wav), 3, 20), 64))
    with pytest.raises(VocolabError, match="code 64: Loudness: the codec has codes 0 to 63"):
        make(tmp_path / "in", tmp_path / "2")


def test_the_estimate_of_the_disk_includes_codes_and_symbols(tmp_path, monkeypatch):
    for n in range(3):
        tone(tmp_path / f"in/s/{n}.wav", seconds=10, text="some words " * 15)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, 10**6))
    with pytest.raises(VocolabError, match="disk too small: 2.1 MB needed"):
        make(tmp_path / "in", tmp_path / "out", codec=Loudness(levels=8, hop=80))
    monkeypatch.undo()
    shards = make(tmp_path / "in", tmp_path / "out", codec=Loudness(levels=8, hop=80))
    size = sum(path.stat().st_size for path in shards.rglob("*.tar"))
    assert size == pytest.approx(1.07e6, rel=0.05)


def test_kmeans_codes_and_characters_of_real_speech(corpus, tmp_path):
    """The built-in codec: fitted, encoded, and read back by the same classes."""
    preparation = Preparation(LibriSpeech(corpus), codec=KMeansCodec(Whisper(), levels=2, size=32), text=Characters())
    shards = prepare(preparation, tmp_path / "out", workers=1, progress=False)
    codec = fit.load_state(KMeansCodec(Whisper(), levels=2, size=32), shards / "codec.safetensors").load()
    text = Characters()
    for u in LibriSpeech(corpus).splits()["val"]:
        sample, (wav, _) = samples(shards, "val")[u.key], audio.read(u.path, 16000)
        codes = codec.encode(wav[None])[0].numpy()
        assert sample["codes.npy"].shape == codes.shape == (2, len(wav) // 640)
        assert (sample["codes.npy"] == codes).mean() > 0.99  # alone and in a batch round apart
        assert sample["json"]["phonemes"] == text.symbols(u.text)
    used = np.unique(np.concatenate([s["codes.npy"][0] for s in samples(shards, "train").values()]))
    assert len(used) > 24
