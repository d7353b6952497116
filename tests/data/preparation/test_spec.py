"""The identity of shards, and the check that they are whole."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from tests.data.parts import Letters, Loudness
from tests.data.tars import write_shards
from vocolab.codecs import KMeansCodec
from vocolab.data.corpora import BuiltinSpeech, Folder
from vocolab.data.preparation.spec import Prematch, Preparation
from vocolab.data.shards.identity import spec_hash
from vocolab.data.shards.manifest import check_shards, read_manifest
from vocolab.encoders.mel import Mel
from vocolab.encoders.whisper import BUILT_IN, Whisper
from vocolab.errors import UsageError, VocolabError
from vocolab.text import Characters

BASE = Preparation(BuiltinSpeech(), Whisper(), Prematch())


def test_the_spec_is_plain_json_and_holds_what_decides_the_numbers():
    spec = json.loads(json.dumps(BASE.spec()))
    assert spec["encoder"]["class_path"].endswith("Whisper")
    assert len(spec["encoder"]["weights"]) == 64
    assert spec["prematch"] == {
        "topk": 4, "pool": "speaker", "matching_layer": 2, "synthesis_layer": 2, "max_pool_frames": None
    }  # fmt: skip
    assert (spec["sample_rate"], spec["hop"], spec["format"]) == (16000, 320, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"corpus": BuiltinSpeech(val=["*-10-0001"])},
        {"encoder": Whisper(layer=1)},
        {"encoder": Mel()},
        {"prematch": Prematch(topk=5)},
        {"prematch": Prematch(matching_layer=1)},
        {"prematch": None},
        {"sample_rate": 24000},
        {"seed": 1},
        {"shard_mb": 8},
    ],
)
def test_each_change_is_another_folder(change):
    other = dataclasses.replace(BASE, **change)
    assert other.spec_hash != BASE.spec_hash
    assert other.default_folder() != BASE.default_folder()


def test_the_folder_is_named_by_the_spec_alone():
    same = Preparation(BuiltinSpeech(), Whisper(), Prematch(matching_layer=2), sample_rate=16000, device="cpu")
    assert same.default_folder() == BASE.default_folder()
    assert BASE.default_folder().as_posix() == f"shards/{BASE.spec_hash[:12]}"


def test_the_path_of_known_weights_does_not_matter(tmp_path):
    spec = BASE.spec()
    moved = json.loads(json.dumps(spec))
    moved["encoder"]["init_args"]["checkpoint"] = str(BUILT_IN)
    assert spec_hash(moved) == spec_hash(spec)
    write_shards(tmp_path, {"train": [30]}, spec=moved)
    check_shards(tmp_path, spec)
    moved["encoder"]["weights"] = "0" * 64
    write_shards(tmp_path, {"train": [30]}, spec=moved)
    with pytest.raises(VocolabError, match="encoder.weights"):
        check_shards(tmp_path, spec)


def test_where_the_corpus_lies_decides_the_default_folder_but_not_the_fit(tmp_path):
    one, other = (Preparation(Folder(tmp_path / name), Mel()) for name in "ab")
    assert one.spec_hash != other.spec_hash
    write_shards(tmp_path, {"train": [30]}, spec=one.spec())
    check_shards(tmp_path, other.spec())


def test_keys_that_only_one_side_has_are_named(tmp_path):
    write_shards(tmp_path, {"train": [30]}, spec=BASE.spec())
    with pytest.raises(VocolabError, match=r"prematch \(absent, wanted null\), prematch.matching_layer \(2, wan"):
        check_shards(tmp_path, dataclasses.replace(BASE, prematch=None).spec())


def test_a_truncated_and_a_missing_shard_are_named(tmp_path):
    write_shards(tmp_path, {"train": [30] * 12})
    tar = tmp_path / "train/shard-000001.tar"
    data = tar.read_bytes()
    check_shards(tmp_path)
    tar.write_bytes(data[:-1000])
    with pytest.raises(VocolabError, match=r"truncated shard \([\d,]+ of [\d,]+ bytes.*shard-000001.tar.*prepare"):
        check_shards(tmp_path)
    tar.unlink()
    with pytest.raises(VocolabError, match="shard is missing.*shard-000001.tar.*prepare"):
        check_shards(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged manifest"),
        ("[]", "damaged manifest"),
        ("{}", "damaged"),
        ('{"format": 9}', "format 9, expected 1"),
    ],
)
def test_a_manifest_that_is_none(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(VocolabError, match=message):
        read_manifest(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(VocolabError, match="no finished shards.*vocolab prepare"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prematch(topk=0), "topk is 0"),
        (lambda: Prematch(pool="town"), "pool is 'town'"),
        (lambda: Prematch(max_pool_frames=2), "max_pool_frames is 2"),
        (lambda: Preparation(BuiltinSpeech(), prematch=Prematch()), "prematch needs an encoder"),
        (lambda: Preparation(BuiltinSpeech(), shard_mb=0), "shard_mb is 0"),
    ],
)
def test_values_out_of_range_are_one_line(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_the_spec_of_features_is_the_one_of_before_there_were_codes():
    """Shards of gigabytes must not be made again for a key that says nothing."""
    assert set(BASE.spec()) == {
        "format", "corpus", "encoder", "prematch", "sample_rate", "hop", "shard_mb", "seed"
    }  # fmt: skip
    assert Preparation(Folder("/speech"), Mel()).spec_hash.startswith("2f56a4536a46")


def test_a_codec_and_a_text_enter_the_spec_as_far_as_they_decide_codes_and_symbols():
    codes = Preparation(BuiltinSpeech(), codec=Loudness(), text=Letters())
    spec = json.loads(json.dumps(codes.spec()))
    assert spec["codec"]["init_args"] == {"levels": 3, "size": 64, "hop": 400, "sample_rate": 16000}
    assert spec["text"]["class_path"].endswith("Letters") and (spec["sample_rate"], spec["hop"]) == (16000, 400)
    for change in ({"codec": Loudness(levels=2)}, {"text": None}, {"codec": None}, {"text": Characters()}):
        assert dataclasses.replace(codes, **change).spec_hash != codes.spec_hash
    assert dataclasses.replace(codes, codec=Loudness(vocoder="runs/v.ckpt")).spec_hash == codes.spec_hash


def test_the_encoder_within_a_codec_is_known_by_its_weights(tmp_path):
    codes = Preparation(BuiltinSpeech(), codec=KMeansCodec(Whisper()))
    spec = json.loads(json.dumps(codes.spec()))
    assert len(spec["codec"]["init_args"]["encoder"]["weights"]) == 64 and "vocoder" not in spec["codec"]["init_args"]
    moved = json.loads(json.dumps(spec))
    moved["codec"]["init_args"]["encoder"]["init_args"]["checkpoint"] = str(BUILT_IN)
    assert spec_hash(moved) == spec_hash(spec)
    write_shards(tmp_path, {"train": [30]}, spec=moved)
    check_shards(tmp_path, spec)
    other = dataclasses.replace(codes, codec=KMeansCodec(Whisper(layer=1)))
    with pytest.raises(VocolabError, match="codec.init_args.encoder.init_args.layer"):
        check_shards(tmp_path, other.spec())
