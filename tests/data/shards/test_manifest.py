"""The manifest against the files beside it."""

from __future__ import annotations

import json

import pytest

from tests.data.preparation.test_notes import tone
from tests.data.speech import manifest
from vocolab.data.corpora import Folder
from vocolab.data.preparation.prepare import Preparation, prepare
from vocolab.data.shards.manifest import check_shards, verify_shards, write_manifest
from vocolab.errors import VocolabError


@pytest.fixture
def shards(tmp_path):
    for name in "abc":
        tone(tmp_path / f"in/s/{name}.wav")
    return prepare(Preparation(Folder(tmp_path / "in", val=["s-c"])), tmp_path / "out", workers=1, progress=False)


def test_all_files_are_verified(shards):
    names = [f"{kind}/{rest}" for kind in ("train", "val") for rest in ("shard-000000.tar",)]
    names += [f"index/{split}.{ending}" for split in ("train", "val") for ending in ("npy", "json")]
    assert verify_shards(shards) == sum((shards / name).stat().st_size for name in names)


@pytest.mark.parametrize("name", ["val/shard-000000.tar", "index/train.npy"])
def test_a_changed_byte_is_found_and_its_file_named(shards, name):
    data = bytearray((shards / name).read_bytes())
    data[-600 if name.endswith("tar") else -1] ^= 1
    (shards / name).write_bytes(data)
    check_shards(shards)  # its length is right
    with pytest.raises(
        VocolabError, match=f"damaged: its sha256 is not the manifest's: {shards / name}: move the folder away"
    ):
        verify_shards(shards)
    (shards / "index/val.json").unlink()
    with pytest.raises(VocolabError, match="damaged: its sha256 is not the manifest's and 1 more: "):
        verify_shards(shards)


def test_older_manifests_are_verified_as_far_as_they_go(shards):
    old = manifest(shards)
    del old["index"], old["listing"]
    write_manifest(shards, old)
    (shards / "index/val.json").write_text(json.dumps({}))
    assert verify_shards(shards) > 0
