"""From speech and text to the batches of a language model: the reader and the data module over codes."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.parts import Letters, Loudness, Quantiles
from tests.data.preparation.test_codes import tone
from tests.data.speech import samples
from vocolab.data.batches import Crops, SpeechBatch, TokenBudget, Utterances
from vocolab.data.corpora import Corpus, Folder, Utterance
from vocolab.data.module import SpeechDataModule
from vocolab.data.plan import Items
from vocolab.data.shards.index import Index
from vocolab.data.shards.reader import ShardReader
from vocolab.errors import UsageError, VocolabError

TEXTS = ["a cab", "bad", "add a bed", "dad", "cab", "abba", "a", "deed"]


class Spoken(Corpus):
    """Two speakers of two languages, four utterances each; `held` of them are validation."""

    def __init__(self, root: Path, held: tuple[int, ...] = (3, 7)):
        self.root, self.held = str(root), list(held)

    def splits(self) -> dict[str, list[Utterance]]:
        found: dict[str, list[Utterance]] = {"train": [], "val": []}
        for n, text in enumerate(TEXTS):
            path = Path(self.root) / f"{n}.wav"
            utterance = Utterance(f"u{n}", path, path.name, f"s{n // 4}", text=text, language=("de", "en")[n // 4])
            found["val" if n in self.held else "train"].append(utterance)
        return {split: utterances for split, utterances in found.items() if utterances}


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("speech")
    for n in range(len(TEXTS)):
        tone(root / f"{n}.wav", seconds=1 + n / 4, level=0.1 + n / 20, text=None)
    return root


@pytest.fixture(scope="module")
def make(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SpeechDataModule]:
    root = tmp_path_factory.mktemp("shards") / "quantiles"

    def build(**options) -> SpeechDataModule:
        options = {"codec": Quantiles(), "text": Letters(), "shards": str(root)} | options
        options = {"batches": TokenBudget(600, prompt_seconds=0.5)} | options
        return SpeechDataModule(Spoken(speech), **options)

    build().prepare(workers=1)
    return build


def by_key(root: Path, split: str = "train") -> dict[str, dict]:
    return samples(root, split)


def check(batch: SpeechBatch, module: SpeechDataModule, split: str) -> None:
    """The batch holds what the shards hold."""
    stored, map_ = samples(module.folder(), split), module.symbol_map()
    for b, key in enumerate(batch.keys):
        sample = stored[key]
        n, p, s = int(batch.lengths[b]), int(batch.prompt_lengths[b]), int(batch.starts[b])
        assert (
            np.array_equal(batch.codes[b, :, :n], sample["codes.npy"][:, s : s + n]) and not batch.codes[b, :, n:].any()
        )
        symbols = int(batch.text_lengths[b])
        assert batch.text[b, :symbols].tolist() == map_.ids(sample["json"]["phonemes"])
        assert not batch.text[b, symbols:].any()
        assert map_.languages[int(batch.language[b])] == sample["json"]["language"]
        assert batch.speakers[b] == sample["json"]["speaker"]
        same = [other["codes.npy"] for other in stored.values() if other["json"]["speaker"] == batch.speakers[b]]
        prompt = batch.prompts[b, :, :p].numpy()
        assert any(
            np.array_equal(codes[:, at : at + p], prompt) for codes in same for at in range(codes.shape[1] - p + 1)
        )
        assert not batch.prompts[b, :, p:].any()


@pytest.mark.parametrize("kind", ["prefix", "segment", "speaker"])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_batches_holds_the_corpus_once(make: Callable, kind: str, workers: int):
    module = make(batches=TokenBudget(600, kind, prompt_seconds=0.5), workers=workers)
    loader = module.train_dataloader()
    seen = []
    for batch in itertools.islice(loader, len(loader)):
        check(batch, module, "train")
        assert batch.audio is None and batch.codes.dtype == torch.int16
        positions = batch.text_lengths + batch.lengths + batch.prompt_lengths + 5
        assert len(batch.keys) * int(positions.max()) <= 600
        seen += batch.keys
    assert sorted(seen) == ["u0", "u1", "u2", "u4", "u5", "u6"]
    ready = batch.unpacked()
    assert ready.codes.dtype == ready.prompts.dtype == ready.text.dtype == ready.language.dtype == torch.int64


def test_validation_is_the_same_each_time(make: Callable):
    module = make()
    assert isinstance(module.val_batches, TokenBudget)
    one, two = ([batch for batch in module.val_dataloader()] for _ in range(2))
    assert sorted(key for batch in one for key in batch.keys) == ["u3", "u7"]
    for batch, again in zip(one, two, strict=True):
        check(batch, module, "val")
        assert torch.equal(batch.prompts, again.prompts) and batch.audio is None


def test_other_batches_of_codes(make: Callable):
    module = make(batches=Crops(8, 2), val_batches=Utterances(2))
    crops = next(iter(module.train_dataloader()))
    assert crops.codes.shape == (2, 2, 8) and crops.audio.shape == (2, 3200) and crops.text is crops.prompts is None
    whole = next(iter(module.val_dataloader()))
    assert whole.text is not None and whole.prompts is None and whole.codes.shape[:2] == (2, 2)
    assert isinstance(make(batches=Crops(8, 2)).val_batches, Utterances)
    assert isinstance(make(val_batches=Utterances(3)).val_batches, Utterances)


def test_what_the_task_asks_of_the_data(make: Callable):
    module = make()
    assert (module.levels, module.size, module.sample_rate, module.hop) == (2, 32, 16000, 400)
    assert module.symbol_map().symbols == ["<unk>", "<s>", "</s>", " ", "a", "b", "c", "d", "e"]
    assert module.symbol_map().languages == ["de", "en"]
    longest = module.longest_batch()
    assert longest.codes.dtype == torch.int16 and longest.keys and longest.audio is None
    total = longest.text_lengths + longest.lengths + longest.prompt_lengths + 5
    assert len(longest.keys) == 3 and int(total.max()) == 128  # two batches an epoch, of three each


def test_the_ready_codec_has_the_codebooks_of_the_shards(make: Callable):
    module = make(val_batches=Utterances(2))
    given = module.codec
    spec = module.spec()
    codec = module.ready_codec()
    assert codec.fitted and codec is module.codec is module.ready_codec() and not given.fitted
    assert module.spec() == spec
    batch = next(iter(module.val_dataloader())).unpacked()
    n = int(batch.lengths[0]) * 400
    assert torch.equal(codec.encode(batch.audio[:1, :n]), batch.codes[:1, :, : n // 400])
    with pytest.raises(UsageError, match="the data has no codec.*data.codec"):
        SpeechDataModule(Spoken(Path("x"))).ready_codec()


def test_the_ready_codec_receives_the_vocoder_that_it_names(speech: Path, tmp_path: Path):
    from vocolab.checkpoints import load_vocoder

    class Vocoded(Loudness):
        def receive(self, vocoder: torch.nn.Module) -> Vocoded:
            self.vocoder = vocoder
            return self

    path = tmp_path / "v.pt"
    module = SpeechDataModule(Spoken(speech), codec=Vocoded(vocoder=str(path)), shards=str(tmp_path / "shards"))
    with pytest.raises(VocolabError, match="v.pt"):
        module.ready_codec()
    _save_vocoder(path)
    received = module.ready_codec().vocoder
    assert type(received) is type(load_vocoder(path).vocoder) and module.preparation.codec.vocoder == str(path)


def _save_vocoder(path: Path) -> None:
    """A checkpoint of `vocolab fit`, as far as its vocoder goes."""
    from vocolab.parts import describe
    from vocolab.vocoders import Vocos

    vocoder = Vocos(in_channels=4, dim=8, blocks=1, hidden=16)
    meta = {"format": 1, "kind": "vocoder", "vocoder": describe(vocoder), "encoder": None}
    state = {f"vocoder.{name}": value for name, value in vocoder.state_dict().items()}
    torch.save({"vocolab": meta, "state_dict": state}, path)


def test_symbols_of_held_out_texts_that_training_lacks_are_reported(
    speech: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    corpus = Spoken(speech, held=(0, 4))  # the only ones with a c
    module = SpeechDataModule(corpus, codec=Loudness(), text=Letters(), shards=str(tmp_path), batches=TokenBudget(600))
    module.prepare(workers=1)
    module.train_dataloader()
    lines = [record.message for record in caplog.records]
    assert lines == [f"{tmp_path}: symbols of val that train lacks become <unk>: 'c'×2"]
    for batch in module.val_dataloader():
        assert (batch.text == 0).sum() >= 1


def test_speakers_of_one_utterance_are_reported(make: Callable, caplog: pytest.LogCaptureFixture):
    make().val_dataloader()
    line = "2 of 2 val utterances are the only one of their speaker: their prompts are cut from themselves"
    assert [record.message.partition(": ")[2] for record in caplog.records] == [line]


def test_an_utterance_beyond_the_budget_is_named_by_its_key(make: Callable):
    for door in ("train_dataloader", "longest_batch"):
        module = make(batches=TokenBudget(100, prompt_seconds=0.5))
        with pytest.raises(VocolabError, match=r"utterance 'u6' takes 128 positions.*100: raise --data.batches.tokens"):
            getattr(module, door)()
    with pytest.raises(VocolabError, match="utterance 'u7' takes .*: raise --data.batches.tokens"):
        make(val_batches=TokenBudget(50)).val_dataloader()


def test_nothing_left_speaks_of_the_keys_that_there_are(make: Callable):
    with pytest.raises(VocolabError, match="0 samples.*loosen --data.batches.min_seconds"):
        make(batches=TokenBudget(600, min_seconds=100.0)).train_dataloader()
    with pytest.raises(VocolabError, match="6 samples for a batch, fewer than 9.*reduce --data.batches.size, or add"):
        make(batches=Utterances(9)).train_dataloader()


def test_utterances_beyond_the_limits_are_reported(make: Callable, caplog: pytest.LogCaptureFixture):
    make(batches=TokenBudget(600, max_seconds=2.0, prompt_seconds=0.5)).train_dataloader()
    line = "2 of 6 train utterances are shorter than min_seconds or longer than max_seconds and left out"
    assert [record.message.partition(": ")[2] for record in caplog.records] == [line]


def test_ranks_hold_the_corpus_once_together(make: Callable, monkeypatch: pytest.MonkeyPatch):
    keys, counts = [], set()
    for rank in range(3):
        monkeypatch.setattr(SpeechDataModule, "_ranks", lambda self, rank=rank: (rank, 3))
        loader = make().train_dataloader()
        counts.add(len(loader))
        keys += [key for batch in itertools.islice(loader, len(loader)) for key in batch.keys]
    assert sorted(keys) == ["u0", "u1", "u2", "u4", "u5", "u6"] and len(counts) == 1


@pytest.mark.parametrize("code", [32, -1, 32767])
def test_codes_out_of_range_name_the_shard_and_the_key(make: Callable, tmp_path: Path, code: int):
    root = shutil.copytree(make().folder(), tmp_path / "out")
    index = Index.open(root, "train")
    row = next(n for n in range(len(index)) if ShardReader(root, "train").key(n) == "u2")
    shard = root / index.shards[index.rows["shard"][row]]
    data = bytearray(shard.read_bytes())
    at = int(index.rows["codes_at"][row]) + 2 * 7
    data[at : at + 2] = np.int16(code).tobytes()
    shard.write_bytes(data)
    line = rf"code {code} of 'u2', and the codec has 0 to 31: .*train/shard-000000.tar: move the folder away"
    with pytest.raises(VocolabError, match=line):
        for _ in itertools.islice(make(shards=str(root)).train_dataloader(), 20):
            pass


def test_stretches_and_prompts_are_read_where_they_are(make: Callable):
    reader = ShardReader(make().folder(), "train")
    stored = samples(make().folder(), "train")
    prompts = Items(np.array([2, 0]), np.array([5, 1]), np.array([9, 4]))
    batch = reader.batch(Items(np.array([1, 3]), np.array([3, 0]), np.array([6, 8]), True, prompts, audio=False))
    keys = [reader.key(n) for n in range(4)]
    assert np.array_equal(batch.codes[0, :, :6], stored[keys[1]]["codes.npy"][:, 3:9])
    assert np.array_equal(batch.prompts[0], stored[keys[2]]["codes.npy"][:, 5:14])
    assert np.array_equal(batch.prompts[1, :, :4], stored[keys[0]]["codes.npy"][:, 1:5])
    assert batch.prompt_lengths.tolist() == [9, 4] and batch.audio is None and batch.keys == [keys[1], keys[3]]


def test_shards_of_another_codec_or_text_are_refused(make: Callable):
    for options in ({"codec": Quantiles(size=16)}, {"codec": Loudness()}, {"text": None}, {"codec": None}):
        with pytest.raises(VocolabError, match="shards of another preparation: (codec|text|hop)"):
            make(**options).prepare()


def test_old_shards_without_codes_still_open(tmp_path: Path, speech: Path):
    """Those of a version whose index did not know the size of a codebook."""
    corpus = Folder(speech, val=0)
    module = SpeechDataModule(corpus, shards=str(tmp_path))
    module.prepare(workers=1)
    meta = tmp_path / "index" / "train.json"
    about = json.loads(meta.read_text())
    assert about.pop("size") == 0
    meta.write_text(json.dumps(about))
    assert len(ShardReader(tmp_path, "train").index) == len(TEXTS)
    with pytest.raises(VocolabError, match="the shards hold no symbols of text.*--data.text"):
        module.symbol_map()
