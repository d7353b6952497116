"""Features that lie on the disk already, and shards by their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.speech import digests, librispeech, manifest, samples
from vocolab.audio import info
from vocolab.data.corpora import LibriSpeech
from vocolab.data.preparation.prepare import Prematch, Preparation, prepare
from vocolab.encoders import Mel, WavLM
from vocolab.errors import UsageError, VocolabError
from vocolab.recipe import load_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return librispeech(tmp_path_factory.mktemp("corpus"), speakers=2, each=4, dev=2)


@pytest.fixture(scope="module")
def encoded(corpus, tmp_path_factory) -> Path:
    """Shards of features that the encoder makes."""
    return prepare(Preparation(LibriSpeech(corpus), Mel()), tmp_path_factory.mktemp("shards"), 1, progress=False)


@pytest.fixture
def tree(encoded, tmp_path) -> Path:
    """The features of these shards as kNN-VC's preparation leaves them."""
    for split in ("train", "val"):
        for sample in samples(encoded, split).values():
            path = (tmp_path / "features" / sample["json"]["source"]).with_suffix(".pt")
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(torch.from_numpy(sample["feats.npy"]), path)
    return tmp_path / "features"


def shards_of(corpus: Path, tree: Path, shards: Path) -> Path:
    return prepare(Preparation(LibriSpeech(corpus), Mel(), features_dir=tree), shards, 1, progress=False)


def test_shards_are_those_of_the_encoder_which_is_not_run(corpus, encoded, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(Mel, "layers", None)
    shards = shards_of(corpus, tree, tmp_path / "shards")
    assert digests(shards) == digests(encoded)
    assert manifest(shards)["spec"]["features_dir"] == str(tree)
    assert manifest(shards)["spec"]["encoder"]["class_path"].endswith("Mel")
    assert "features_dir" not in manifest(encoded)["spec"]


def test_files_that_do_not_fit_are_skipped_with_the_reason(corpus, encoded, tree, tmp_path):
    folder = tree / "train-clean-100/3001/10"
    names = [folder / f"3001-10-{n:04d}.pt" for n in range(4)] + [
        tree / f"train-clean-100/3002/10/3002-10-{n:04d}.pt" for n in range(4)
    ]
    feats = torch.load(names[0])
    names[0].unlink()
    torch.save(feats[:, :79], names[1])
    torch.save({"feats": feats}, names[2])
    torch.save(torch.load(names[3])[:3], names[3])
    torch.save(torch.load(names[4]).fill_(torch.nan), names[4])
    torch.save(Path("code"), names[5])
    one_less = torch.load(names[6])[:-1].clone()
    torch.save(one_less, names[6])
    shards = shards_of(corpus, tree, tmp_path / "shards")
    reasons = {Path(e["path"]).stem: e["reason"] for e in manifest(shards)["skipped"]}
    assert reasons.pop("3001-10-0003").startswith("features have another length (3 frames, expected ")
    assert reasons == {
        "3001-10-0000": "no features (train-clean-100/3001/10/3001-10-0000.pt)",
        "3001-10-0001": f"features of another kind ({tuple(feats[:, :79].shape)} of torch.float16, "
        "expected (L, 80) of floats)",
        "3001-10-0002": "file holds a dict, not a tensor",
        "3002-10-0000": "features are not finite",
        "3002-10-0001": "checkpoint holds pathlib.PosixPath, not only tensors",
    }
    left = samples(shards, "train")
    assert sorted(left) == ["3002-10-0002", "3002-10-0003"]
    whole = samples(encoded, "train")["3002-10-0002"]["audio.npy"]
    assert torch.equal(torch.from_numpy(left["3002-10-0002"]["feats.npy"]), one_less)
    assert np.array_equal(left["3002-10-0002"]["audio.npy"], whole[: 320 * len(one_less)])


def test_a_folder_without_a_fitting_file_is_one_line(corpus, tmp_path):
    with pytest.raises(VocolabError, match="no such folder of features.*nowhere.*--data.features_dir"):
        shards_of(corpus, tmp_path / "nowhere", tmp_path / "shards")
    with pytest.raises(VocolabError, match="none of 10 files can be used.*no features"):
        shards_of(corpus, tmp_path, tmp_path / "shards")


def test_shards_of_another_folder_are_refused(corpus, encoded, tree):
    for prepared, wanted in ((encoded, tree), (encoded, tree.parent)):
        with pytest.raises(VocolabError, match="features_dir .absent, wanted"):
            shards_of(corpus, wanted, prepared)


def test_what_does_not_go_with_a_folder_of_features_is_refused(corpus, tmp_path):
    with pytest.raises(UsageError, match="prematch with features_dir.*--data.prematch null"):
        Preparation(LibriSpeech(corpus), Mel(), Prematch(), features_dir=tmp_path)
    with pytest.raises(UsageError, match="features_dir without an encoder.*--data.encoder"):
        Preparation(LibriSpeech(corpus), features_dir=tmp_path)


def test_no_weights_are_needed(corpus, tmp_path):
    """The hub name of WavLM-Large is enough to know how wide its features are."""
    spec = Preparation(LibriSpeech(corpus), WavLM(), features_dir=tmp_path).spec()
    assert spec["encoder"]["init_args"] == {"layer": 6} and (spec["hop"], spec["sample_rate"]) == (320, 16000)


def test_a_recipe_takes_a_folder_of_features_and_a_number_of_shards(corpus, tmp_path):
    for split, speaker, count in (("train-clean-100", 3001, 4), ("train-clean-100", 3002, 4), ("dev-clean", 3010, 2)):
        for n in range(count):
            path = tmp_path / f"features/{split}/{speaker}/10/{speaker}-10-{n:04d}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = _samples(corpus, path) // 320
            torch.save(torch.randn(frames, 1024).half(), path)
    overrides = {"data.corpus.root": corpus, "data.features_dir": tmp_path / "features", "data.num_shards": 3}
    overrides |= {"data.shards": tmp_path / "shards", "data.prepare_workers": 1}
    data = load_recipe("recipes/hifigan_plain.yaml", {k: str(v) for k, v in overrides.items()}).data
    found = manifest(data.prepare())
    assert [s["name"] for s in found["shards"]] == [
        *(f"train/shard-{n:06d}.tar" for n in range(3)), *(f"val/shard-{n:06d}.tar" for n in range(2))
    ]  # fmt: skip
    assert [s["samples"] for s in found["shards"]] == [3, 3, 2, 1, 1]
    assert found["spec"]["num_shards"] == 3 and found["splits"]["train"]["samples"] == 8
    with pytest.raises(UsageError, match="num_shards is 0"):
        Preparation(LibriSpeech(corpus), Mel(), num_shards=0)


def _samples(corpus: Path, path: Path) -> int:
    found = next(corpus.rglob(f"{path.stem}.opus"))
    return round(info(found).seconds * 16000)
