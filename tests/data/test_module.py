"""The data module under a real Lightning trainer: the same batches however a run is cut into parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.data.speech import librispeech
from tests.data.tars import CHANNELS, HOP, write_shards
from vocolab.audio import read
from vocolab.data.batches import Crops, MatchedCrops, SpeechBatch, Utterances
from vocolab.data.corpora import Corpus, Folder, Utterance
from vocolab.data.module import SpeechDataModule
from vocolab.data.plan import Items
from vocolab.data.preparation.spec import Prematch
from vocolab.encoders import Mel
from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError, VocolabError

LENGTHS = [30, 27, 22, 51, 12, 40, 9, 33, 28, 61, 5, 38]  # of frames
VAL = [9, 30, 4, 17, 25, 6, 8]


class Nowhere(Corpus):
    """A corpus that is never looked at."""

    def splits(self) -> dict[str, list[Utterance]]:
        raise AssertionError("the shards are there")


class Counting(Encoder):
    """The encoder the test shards claim to be made with."""

    sample_rate, hop, dim = 16000, HOP, CHANNELS

    def load(self, layers=None):
        raise AssertionError("the shards are there")

    layers = frames = alignment_padding = load


def data(root: Path, **arguments: Any) -> SpeechDataModule:
    arguments = {"batches": Crops(8, 2), "val_batches": Utterances(2), "shards": str(root)} | arguments
    return SpeechDataModule(Nowhere(), Counting(), **arguments)


def shards(root: Path, **lengths: list[int]) -> Path:
    return write_shards(root, lengths, spec=data(root).spec())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shards(tmp_path_factory.mktemp("shards"), train=LENGTHS, val=VAL, test=VAL[:3])


class Model(LightningModule):
    """Two optimizers by hand, as a GAN has; notes what it was given."""

    automatic_optimization = False

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(CHANNELS, 1)
        self.seen: list[list[tuple[int, int]]] = []
        self.validated: list[list[str]] = []

    def training_step(self, batch: SpeechBatch, batch_idx: int) -> None:
        assert batch.feats.dtype == batch.audio.dtype == torch.float32
        self.seen.append(list(zip(batch.rows.tolist(), batch.starts.tolist(), strict=True)))
        loss = (self.layer(batch.feats / 64).mean() - batch.audio.mean()) ** 2
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: SpeechBatch, batch_idx: int) -> None:
        self.validated.append(batch.keys)

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


class SaveAt(Callback):
    """Save at the end of a batch, of an epoch, of a validation or of training."""

    def __init__(self, step: int, path: Path, moment: str):
        self.step, self.path, self.moment = step, path, moment

    def _save(self, trainer: Trainer, moment: str) -> None:
        if trainer.global_step == self.step and moment == self.moment and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer, "batch")

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer, "epoch")

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer, "validation")

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer, "end")


def trainer(root: Path, **arguments: Any) -> Trainer:
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return Trainer(accelerator="cpu", default_root_dir=root, **(dict.fromkeys(off, False) | arguments))


def fit_nothing(module: SpeechDataModule, path: Path) -> Any:
    """One update of a model that keeps its batch."""

    class Keeping(Model):
        batches: list[SpeechBatch] = []

        def training_step(self, batch: SpeechBatch, batch_idx: int) -> None:
            self.batches.append(batch)
            self.optimizers().step()

    model = Keeping()
    trainer(path, max_steps=1).fit(model, module)
    return model


def fit(
    module: SpeechDataModule,
    steps: int,
    path: Path,
    resume: bool = False,
    stop: int | None = None,
    moment: str = "batch",
    **arguments: Any,
) -> Model:
    """Train to `steps` updates, saving `path` at update `stop`."""
    torch.manual_seed(1)
    model = Model()
    callbacks = [] if stop is None else [SaveAt(stop, path, moment)]
    run = trainer(path.parent, max_steps=steps, callbacks=callbacks, **arguments)
    run.fit(model, module, ckpt_path=path if resume else None, weights_only=True)
    assert run.global_step == steps
    return model


PER_EPOCH = sum(max(n - 7, 0) for n in LENGTHS) // 8 // 2  # batches of two crops
ALTERNATING = {"val_check_interval": 5, "check_val_every_n_epoch": None}


def test_what_is_known_before_preparing(tmp_path: Path):
    module = SpeechDataModule(Nowhere(), Counting(), shards=str(tmp_path))
    assert (module.feature_dim, module.hop, module.sample_rate) == (CHANNELS, HOP, 16000)
    assert (module.batches.frames, module.batches.size, module.val_batches.size) == (22, 16, 8)
    other = SpeechDataModule(Nowhere(), Counting(), sample_rate=24000)
    assert (other.hop, other.sample_rate) == (HOP * 3 // 2, 24000)


def test_from_speech_files_to_batches(tmp_path: Path):
    """The real `prepare`: what is in the batches is what the encoder makes of the corpus."""
    corpus = Folder(librispeech(tmp_path) / "LibriSpeech" / "dev-clean")
    module = SpeechDataModule(corpus, Mel(), batches=Crops(22, 3), shards=str(tmp_path / "shards"))
    assert module.prepare(workers=1) == tmp_path / "shards"
    model = fit_nothing(module, tmp_path)
    batch = model.batches[0]
    assert batch.feats.shape == (3, 22, 80) and batch.audio.shape == (3, 22 * 320) and batch.audio.abs().max() > 0.01
    whole = module.preparation.corpus.splits()["train"]
    index = module.train_dataloader().dataset.reader
    for b in range(3):
        key = index.batch(Items(batch.rows[b : b + 1].numpy(), np.array([0]), np.array([1]), whole=True)).keys[0]
        wav, _ = read(next(u.path for u in whole if u.key == key), 16000)
        start = int(batch.starts[b])
        assert (batch.audio[b] - wav[start * 320 : (start + 22) * 320]).abs().max() < 1e-3
        padded = torch.nn.functional.pad(wav, (0, Mel().alignment_padding(len(wav))))
        assert (batch.feats[b] - Mel()(padded[None])[0, start : start + 22]).abs().max() < 0.02


def test_batches_need_no_trainer(root: Path):
    loader = data(root).train_dataloader()
    batch = next(iter(loader))
    assert len(loader) == PER_EPOCH and batch.feats.shape == (2, 8, CHANNELS) and batch.feats.dtype == torch.float16


def test_an_epoch_then_the_next(root: Path, tmp_path: Path):
    model = fit(data(root), 2 * PER_EPOCH, tmp_path / "x.ckpt")
    first, second = sum(model.seen[:PER_EPOCH], []), sum(model.seen[PER_EPOCH:], [])
    assert len(set(first)) == len(set(second)) == 2 * PER_EPOCH and first != second
    plan = Crops(8, 2).plan(data(root).train_dataloader().dataset.reader.index, 0, 1)
    assert model.seen[PER_EPOCH] == list(zip(plan[0].rows.tolist(), plan[0].starts.tolist(), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [10, PER_EPOCH, PER_EPOCH + 3])
def test_resumed_run_is_the_same_run(root: Path, tmp_path: Path, workers: int, stop: int):
    path = tmp_path / "x.ckpt"
    whole = fit(data(root), stop + 10, path, **ALTERNATING)
    one = fit(data(root, workers=workers), stop, path, stop=stop, moment="end", **ALTERNATING)
    two = fit(data(root, workers=workers), stop + 10, path, resume=True, **ALTERNATING)
    assert one.seen + two.seen == whole.seen
    assert all(torch.equal(a, b) for a, b in zip(two.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize(
    "stop, moment, arguments",
    [
        (7, "batch", {}),
        (7, "batch", ALTERNATING),
        (PER_EPOCH, "batch", {}),
        (PER_EPOCH, "batch", ALTERNATING),
        (PER_EPOCH, "epoch", {}),
        (PER_EPOCH, "epoch", ALTERNATING),
        (PER_EPOCH, "validation", {}),
        (10, "validation", ALTERNATING),
        (2 * PER_EPOCH, "batch", ALTERNATING),
        (2 * PER_EPOCH, "epoch", ALTERNATING),
        (9, "batch", {"limit_train_batches": 6}),
        (12, "epoch", {"limit_train_batches": 6}),
    ],
)
def test_checkpoint_of_any_moment_goes_on_with_the_next_batch(
    root: Path, tmp_path: Path, stop: int, moment: str, arguments: dict[str, Any]
):
    path, steps = tmp_path / "x.ckpt", 2 * PER_EPOCH + 8
    whole = fit(data(root), steps, path, stop=stop, moment=moment, **arguments)
    resumed = fit(data(root), steps, path, resume=True, **arguments)
    assert resumed.seen == whole.seen[stop:]
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_epochs_without_a_limit_of_updates_resume_too(root: Path, tmp_path: Path):
    path = tmp_path / "x.ckpt"
    whole, first, second = Model(), Model(), Model()
    trainer(tmp_path, max_epochs=3).fit(whole, data(root))
    trainer(tmp_path, max_epochs=1, callbacks=[SaveAt(PER_EPOCH, path, "end")]).fit(first, data(root))
    trainer(tmp_path, max_epochs=3).fit(second, data(root), ckpt_path=path, weights_only=True)
    assert first.seen + second.seen == whole.seen and len(whole.seen) == 3 * PER_EPOCH


def test_run_that_died_within_an_update_repeats_that_batch(root: Path, tmp_path: Path):
    path = tmp_path / "x.ckpt"

    class Dying(Model):
        def training_step(self, batch: SpeechBatch, batch_idx: int) -> None:
            if len(self.seen) == 6:
                self.trainer.save_checkpoint(path)
                raise RuntimeError("power cut")
            super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="power cut"):
        trainer(tmp_path, max_steps=12).fit(Dying(), data(root))
    assert fit(data(root), 12, path, resume=True).seen == fit(data(root), 12, tmp_path / "y.ckpt").seen[6:]


def test_resuming_gives_no_warning(root: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder):
    path = tmp_path / "x.ckpt"
    fit(data(root), 7, path, stop=7, moment="end")
    fit(data(root), 9, path, resume=True)
    assert not [w for w in recwarn if "resum" in str(w.message)]


def test_more_ranks_after_a_resume_go_on(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.ckpt"
    fit(data(root), PER_EPOCH - 1, path, stop=PER_EPOCH - 1, moment="end")
    monkeypatch.setattr(SpeechDataModule, "_ranks", lambda self: (1, 3))
    assert len(fit(data(root), PER_EPOCH + 5, path, resume=True).seen) == 6


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_divide_training_and_validation(root: Path, monkeypatch: pytest.MonkeyPatch, ranks: int):
    train, val = [], []
    for rank in range(ranks):
        monkeypatch.setattr(SpeechDataModule, "_ranks", lambda self, rank=rank: (rank, ranks))
        loader, module = data(root).train_dataloader(), data(root)
        stream = iter(loader)
        train.append([next(stream).rows.tolist() for _ in range(len(loader))])
        val.append([batch.keys for batch in module.val_dataloader()])
    assert {len(part) for part in train} == {PER_EPOCH // ranks} and len({len(part) for part in val}) == 1
    plan = Crops(8, 2).plan(loader.dataset.reader.index, 0, 0)
    in_turn = [part[i] for i in range(PER_EPOCH // ranks) for part in train]
    assert in_turn == [plan[i].rows.tolist() for i in range(PER_EPOCH // ranks * ranks)]
    assert sorted(key for part in val for keys in part for key in keys) == sorted(f"val-{i}" for i in range(len(VAL)))


def test_validation_covers_the_split_at_every_pass(root: Path, tmp_path: Path):
    model = fit(data(root), 10, tmp_path / "x.ckpt", num_sanity_val_steps=0, **ALTERNATING)
    batches = -(-len(VAL) // 2)
    assert len(model.validated) == 2 * batches and model.validated[:batches] == model.validated[batches:]
    assert sorted(sum(model.validated[:batches], [])) == sorted(f"val-{i}" for i in range(len(VAL)))


def test_validate_test_and_predict(root: Path, tmp_path: Path):
    runs = ((Trainer.validate, "val", len(VAL)), (Trainer.test, "test", 3), (Trainer.predict, "test", 3))
    for run, split, count in runs:
        model = Model()
        run(trainer(tmp_path), model, datamodule=data(root, workers=1))
        assert sorted(sum(model.validated, [])) == [f"{split}-{i}" for i in range(count)]


def test_without_a_validation_split(tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder):
    root = shards(tmp_path, train=LENGTHS)
    assert fit(data(root), 6, tmp_path / "x.ckpt", **ALTERNATING).validated == []
    lines = [record.message for record in caplog.records if "no val split" in record.message]
    assert lines == [f"{root}: no val split, so no validation"] and not [w for w in recwarn if "zero" in str(w.message)]
    for split, run in (("val", Trainer.validate), ("test", Trainer.test)):
        with pytest.raises(VocolabError, match=f"no {split} split: {root}: set --data.corpus.{split} to"):
            run(trainer(tmp_path), Model(), datamodule=data(root))


def test_empty_splits(tmp_path: Path):
    root = shards(tmp_path, train=[], val=[])
    with pytest.raises(VocolabError, match="gives 0 samples for a batch, fewer than 2"):
        fit(data(root), 1, tmp_path / "x.ckpt")
    with pytest.raises(VocolabError, match="val split is empty"):
        trainer(tmp_path).validate(Model(), data(root))


def test_one_utterance(tmp_path: Path):
    root = shards(tmp_path, train=[9], val=[3])
    model = fit(data(root, batches=Crops(8, 1)), 5, tmp_path / "x.ckpt")
    assert {crop for batch in model.seen for crop in batch} <= {(0, 0), (0, 1)} and len(model.seen) == 5
    with pytest.raises(VocolabError, match="1 samples for a batch, fewer than 2: .*: reduce --data.batches.size"):
        fit(data(root), 1, tmp_path / "x.ckpt")


def test_short_utterances_are_left_out_and_counted(root: Path, caplog: pytest.LogCaptureFixture):
    data(root, batches=Crops(5, 2)).train_dataloader()
    assert [r.message for r in caplog.records] == []
    data(root, batches=Crops(13, 2)).train_dataloader()
    line = f"{root}: 3 of 12 train utterances are too short for a batch and left out"
    assert [r.message for r in caplog.records] == [line]


def test_whole_utterances_for_training(root: Path, tmp_path: Path):
    model = fit(data(root, batches=Utterances(3)), 4, tmp_path / "x.ckpt")
    assert sorted(sum(model.seen, [])) == [(row, 0) for row in range(12)]


@pytest.mark.parametrize("workers", [0, 2])
def test_shard_damaged_during_a_run_is_one_line(tmp_path: Path, workers: int):
    root = shards(tmp_path / "shards", train=LENGTHS)
    module = data(root, workers=workers)
    loader = module.train_dataloader()
    shard = root / "train" / "shard-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(VocolabError, match="damaged shard") as caught:
        for _, _ in zip(range(50), loader, strict=False):
            pass
    assert "Traceback" not in str(caught.value)


def test_shards_of_another_spec_are_refused(root: Path, tmp_path: Path):
    module = SpeechDataModule(Nowhere(), Counting(), shards=str(root), sample_rate=24000)
    for door in (module.prepare, module.prepare_data, lambda: module.setup("fit")):
        with pytest.raises(VocolabError, match="sample_rate"):
            door()
    with pytest.raises(VocolabError, match="no finished shards.*run vocolab prepare"):
        data(tmp_path).setup("fit")


def test_ranks_of_a_group_never_prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    module = data(tmp_path)
    module.prepare_data()
    assert not list(tmp_path.iterdir())


def test_refusals(root: Path):
    with pytest.raises(UsageError, match="URL are not supported: https://x/y: copy them"):
        data(Path("x"), shards="https://x/y")
    with pytest.raises(UsageError, match="workers is -1"):
        data(root, workers=-1)
    with pytest.raises(UsageError, match="size is 0"):
        Crops(22, 0)
    with pytest.raises(UsageError, match="prematch stores others: .*: leave out data.prematch"):
        data(root, batches=MatchedCrops(8, 2), prematch=Prematch())
    with pytest.raises(UsageError, match="overfit_batches"):
        trainer(root, overfit_batches=1).fit(Model(), data(root))
