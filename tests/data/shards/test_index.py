"""The index beside the shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vocolab.data.shards.index import ROW, Index
from vocolab.errors import VocolabError


def small() -> Index:
    rows = np.zeros(3, ROW)
    rows["frames"], rows["feats_at"] = [5, 6, 7], [2**40, 512, 0]
    return Index(rows, ["train/shard-000000.tar"], [123], ["a", "ü"], 24000, 480, channels=4)


def test_comes_back_as_written_and_mapped(tmp_path: Path):
    small().write(tmp_path, "train")
    index = Index.open(tmp_path, "train")
    assert isinstance(index.rows, np.memmap) and len(index) == 3
    assert np.array_equal(index.rows, small().rows) and index.rows["feats_at"][0] == 2**40
    assert (index.shards, index.sizes, index.speakers) == (["train/shard-000000.tar"], [123], ["a", "ü"])
    assert (index.sample_rate, index.hop, index.channels, index.levels) == (24000, 480, 4, 0)
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) == ["train.json", "train.npy"]


def test_empty_split(tmp_path: Path):
    Index(np.zeros(0, ROW), [], [], [], 16000, 320).write(tmp_path, "val")
    assert len(Index.open(tmp_path, "val")) == 0


def test_missing_or_damaged_is_one_line(tmp_path: Path):
    with pytest.raises(VocolabError, match="no index of split 'val'.*run vocolab prepare"):
        Index.open(tmp_path, "val")
    small().write(tmp_path, "train")
    path = tmp_path / "index" / "train.npy"
    whole = path.read_bytes()
    for broken in (b"", whole[:60], whole[:-20], b"no array" + whole):
        path.write_bytes(broken)
        with pytest.raises(VocolabError, match="damaged index|another format"):
            Index.open(tmp_path, "train")
    path.write_bytes(whole)
    path.with_suffix(".json").write_text('{"shards": []}')
    with pytest.raises(VocolabError, match="damaged index"):
        Index.open(tmp_path, "train")
    np.save(path, np.zeros(3))
    path.with_suffix(".json").write_text('{"shards": [], "sizes": [], "speakers": [], "sample_rate": 1, "hop": 1}')
    with pytest.raises(VocolabError, match="index of another format"):
        Index.open(tmp_path, "train")
