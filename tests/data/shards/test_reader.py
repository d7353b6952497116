"""The mapped reader: the right bytes, and no more of them than needed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset

from tests.data.tars import CHANNELS, HOP, utterance, write_shards
from vocolab.data.plan import Items
from vocolab.data.shards.index import ROW, Index
from vocolab.data.shards.reader import ShardReader
from vocolab.errors import VocolabError

LENGTHS = [30, 7, 22, 51, 12, 40, 9, 33, 28, 61, 5, 18]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), {"train": LENGTHS})


def items(*stretches: tuple[int, int, int], whole: bool = False) -> Items:
    rows, starts, frames = (np.array(column) for column in zip(*stretches, strict=True))
    return Items(rows, starts, frames, whole)


def test_crops_hold_the_frames_and_samples_asked_for(root: Path):
    asked = [(3, 29, 22), (0, 0, 22), (9, 39, 22), (2, 0, 22), (3, 5, 22)]
    batch = ShardReader(root, "train").batch(items(*asked))
    assert batch.feats.shape == (5, 22, CHANNELS) and batch.feats.dtype == torch.float16
    assert batch.audio.shape == (5, 22 * HOP) and batch.audio.dtype == torch.int16
    for b, (row, start, n) in enumerate(asked):
        whole = utterance("train", row, LENGTHS[row])
        assert np.array_equal(batch.feats[b], whole["feats"][start : start + n])
        assert np.array_equal(batch.audio[b], whole["audio"][start * HOP : (start + n) * HOP])
    assert batch.rows.tolist() == [3, 0, 9, 2, 3] and batch.starts.tolist() == [29, 0, 39, 0, 5]
    assert batch.speakers == ["s0", "s0", "s0", "s2", "s0"] and batch.keys == []


def test_whole_utterances_are_padded_and_carry_keys(root: Path):
    batch = ShardReader(root, "train").batch(items((1, 0, 7), (3, 0, 51), (10, 0, 5), whole=True))
    assert batch.keys == ["train-1", "train-3", "train-10"]
    assert batch.lengths.tolist() == [7, 51, 5] and batch.audio_lengths.tolist() == [7 * HOP, 51 * HOP, 5 * HOP]
    assert batch.feats.shape == (3, 51, CHANNELS) and batch.audio.shape == (3, 51 * HOP)
    for b, row in enumerate((1, 3, 10)):
        n, whole = LENGTHS[row], utterance("train", row, LENGTHS[row])
        assert np.array_equal(batch.feats[b, :n], whole["feats"]) and not batch.feats[b, n:].any()
        assert np.array_equal(batch.audio[b, : n * HOP], whole["audio"]) and not batch.audio[b, n * HOP :].any()


def test_unpacked_gives_the_types_to_compute_with(root: Path):
    batch = ShardReader(root, "train").batch(items((3, 2, 4)))
    ready = batch.unpacked()
    assert ready.feats.dtype == ready.audio.dtype == torch.float32
    assert torch.equal(ready.audio, batch.audio / 32768) and torch.equal(ready.feats, batch.feats.float())
    assert torch.equal(ready.unpacked().audio, ready.audio)  # once only


def test_samples_short_of_their_frames_are_padded(root: Path, tmp_path: Path):
    write_shards(tmp_path, {"train": [10]})
    index = Index.open(tmp_path, "train")
    index.rows = index.rows.copy()
    index.rows["samples"] -= 3
    index.write(tmp_path, "train")
    batch = ShardReader(tmp_path, "train").batch(items((0, 5, 5)))
    assert batch.audio_lengths.tolist() == [5 * HOP - 3] and batch.audio.shape == (1, 5 * HOP)
    assert not batch.audio[0, -3:].any()


def test_codes_are_cut_along_time(tmp_path: Path):
    codes = np.arange(3 * 11, dtype=np.int16).reshape(3, 11)
    (tmp_path / "a.tar").write_bytes(b"x" * 64 + codes.tobytes())
    rows = np.zeros(1, ROW)
    rows["frames"], rows["codes_at"] = 11, 64
    Index(rows, ["a.tar"], [64 + codes.nbytes], ["s"], 16000, 320, levels=3).write(tmp_path, "train")
    batch = ShardReader(tmp_path, "train").batch(items((0, 2, 5), (0, 9, 2)))
    assert batch.feats is None and batch.codes.shape == (2, 3, 5)
    assert np.array_equal(batch.codes[0], codes[:, 2:7]) and np.array_equal(batch.codes[1, :, :2], codes[:, 9:])
    assert not batch.codes[1, :, 2:].any() and not batch.audio.any()


def test_description_is_the_json_member(root: Path):
    assert ShardReader(root, "train").description(7) == {"speaker": "s1", "row": 7}


def test_no_more_maps_than_allowed_and_the_same_batches(root: Path):
    few, many = ShardReader(root, "train", open_shards=1), ShardReader(root, "train")
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(12)
        chosen = items(*((int(row), 0, LENGTHS[row]) for row in rows), whole=True)
        assert torch.equal(few.batch(chosen).feats, many.batch(chosen).feats)
        assert len(few._maps) == 1 and len(many._maps) == 3


def test_pickled_reader_is_small_and_maps_anew(root: Path):
    reader = ShardReader(root, "train")
    first = reader.batch(items((0, 3, 9)))
    data = pickle.dumps(reader)
    assert len(data) < 1000
    assert torch.equal(pickle.loads(data).batch(items((0, 3, 9))).feats, first.feats)


def test_same_arrays_as_plain_webdataset(root: Path):
    reader = ShardReader(root, "train")
    urls = [str(root / name) for name in reader.index.shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(samples) == len(LENGTHS)
    for row, sample in enumerate(samples):
        batch = reader.batch(items((row, 0, LENGTHS[row]), whole=True))
        assert batch.keys == [sample["__key__"]]
        assert np.array_equal(batch.feats[0], sample["feats.npy"])
        assert np.array_equal(batch.audio[0], sample["audio.npy"])


def test_truncated_and_missing_shards_are_one_line(tmp_path: Path):
    write_shards(tmp_path, {"train": LENGTHS})
    shard = tmp_path / "train" / "shard-000001.tar"
    reader = ShardReader(tmp_path, "train")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1000])
    line = rf"damaged shard \({len(whole) - 1000} bytes, expected {len(whole)}\).*shard-000001.tar"
    for act in (lambda: ShardReader(tmp_path, "train"), lambda: reader.batch(items((7, 0, 5)))):
        with pytest.raises(VocolabError, match=line):
            act()
    shard.write_bytes(whole.replace(b'{"', b"\0\0"))
    with pytest.raises(VocolabError, match="damaged shard .no description.*shard-000001.tar"):
        ShardReader(tmp_path, "train").description(7)
    shard.unlink()
    with pytest.raises(VocolabError, match="shard is missing.*shard-000001.tar"):
        ShardReader(tmp_path, "train")


def test_a_shard_that_has_grown_is_refused(tmp_path: Path):
    root = write_shards(tmp_path, {"train": LENGTHS[:2]})
    with open(root / "train/shard-000000.tar", "ab") as file:
        file.write(b"x")
    with pytest.raises(VocolabError, match="damaged shard"):
        ShardReader(root, "train")


@pytest.mark.parametrize("code", [-1, 8, -(2**15), 2**15 - 1])
def test_codes_that_the_codec_does_not_have_are_refused(tmp_path: Path, code: int):
    path, row = tmp_path / "train/shard-000000.tar", np.zeros(1, ROW)
    path.parent.mkdir()
    with webdataset.TarWriter(str(path)) as tar:
        tar.write({"__key__": "a", "codes.npy": np.array([[0, 7, code]], np.int16), "json": {}})
    data = path.read_bytes()
    row["codes_at"] = data.index(np.array([[0, 7, code]], "<i2").tobytes(), 512)
    row["json_at"], row["frames"] = data.index(b"a.json") + 512, 3
    names = ["train/shard-000000.tar"]
    Index(row, names, [len(data)], ["s"], 16000, HOP, levels=1, size=8).write(tmp_path, "train")
    with pytest.raises(VocolabError, match=f"code {code} of 'a', and the codec has 0 to 7"):
        ShardReader(tmp_path, "train").batch(Items(np.array([0]), np.array([0]), np.array([3]), audio=False))
    good = ShardReader(tmp_path, "train").batch(Items(np.array([0]), np.array([0]), np.array([2]), audio=False))
    assert good.codes.tolist() == [[[0, 7]]]
