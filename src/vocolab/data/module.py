"""The data module: it prepares missing shards and hands out planned batches."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.trainer.states import TrainerFn

from vocolab.checkpoints import load_vocoder
from vocolab.codecs.base import Codec
from vocolab.data.batches import Batches, Crops, MatchedCrops, SpeechBatch, TokenBudget, Utterances
from vocolab.data.corpora import Corpus
from vocolab.data.loader import CoveringBatches, EvaluationLoader, PlannedBatches, TrainLoader
from vocolab.data.plan import Plan
from vocolab.data.preparation.fit import STATE, load_state
from vocolab.data.preparation.spec import Prematch, Preparation
from vocolab.data.shards.index import Index
from vocolab.data.shards.manifest import check_shards, read_manifest, read_symbols
from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError, VocolabError
from vocolab.text import SymbolMap, Text
from vocolab.text.symbols import is_punctuation

log = logging.getLogger(__name__)


class SpeechDataModule(LightningDataModule):
    """Batches of speech with its features or codes and its text: a sample holds what the given parts make."""

    def __init__(
        self,
        corpus: Corpus,
        encoder: Encoder | None = None,
        prematch: Prematch | None = None,
        codec: Codec | None = None,
        text: Text | None = None,
        batches: Batches = Crops(frames=22, size=16),  # noqa: B008 (never changed, and shown as it is in a recipe's full config)
        val_batches: Batches | None = None,
        shards: str | Path | None = None,
        sample_rate: int | None = None,
        workers: int = 0,
        seed: int = 0,
        prepare_workers: int | None = None,
        features_dir: str | Path | None = None,
        num_shards: int | None = None,
    ):
        """
        Args:
            corpus: where the speech comes from.
            encoder: what turns speech into features.
            prematch: replace features by their neighbours' mean, as kNN-VC does before training.
            codec: what turns speech into codes; without codec and encoder the shards hold only audio.
            text: what turns transcripts into symbols; utterances without one are then left out.
            batches: how training samples are drawn.
            val_batches: how evaluation goes through a whole split; default: `batches` if that is a `TokenBudget`,
                else 8 utterances at a time.
            shards: the folder of the shards; default: `shards/HASH`, by a hash of all that decides their content.
            sample_rate: of the audio in Hz; default: the encoder's or the codec's.
            workers: processes that read batches beside the training.
            seed: decides the order of the training batches, not the shards.
            prepare_workers: processes that make missing shards; default: one a core, or one on a GPU.
            features_dir: a folder of features that the encoder made before, as kNN-VC's preparation leaves them: of
                `a/b.flac` in the corpus a tensor (L, C) in `a/b.pt`. The encoder is then not run.
            num_shards: into how many shards each split is divided; default: as many as hold 512 MB each.
        """
        super().__init__()
        if shards is not None and "://" in str(shards):
            remedy = "copy them into a folder and give that as --data.shards"
            raise UsageError("shards at a URL are not supported", shards, remedy)
        if workers < 0:
            raise UsageError(f"workers is {workers}", "data.workers", "give 0 (read in the training process) or more")
        if isinstance(batches, MatchedCrops) and prematch is not None:
            remedy = "leave out data.prematch (--data.prematch null)"
            raise UsageError("MatchedCrops matches plain features, and prematch stores others", "data.batches", remedy)
        self.corpus, self.encoder, self.prematch, self.text = corpus, encoder, prematch, text
        self.batches = batches
        self.val_batches = val_batches or (batches if isinstance(batches, TokenBudget) else Utterances(size=8))
        self.shards, self.workers, self.seed = shards, workers, seed
        self.prepare_workers, self.features_dir, self.num_shards = prepare_workers, features_dir, num_shards
        self.preparation = Preparation(
            corpus=corpus,
            encoder=encoder,
            prematch=prematch,
            sample_rate=sample_rate,
            codec=codec,
            text=text,
            features_dir=features_dir,
            num_shards=num_shards,
        )
        self.codec = codec  # `ready_codec` replaces it by a copy that can decode; the preparation keeps the one given
        self.sample_rate = self.preparation.rate  # Hz
        self.hop = self.preparation.hop  # samples a frame
        self.feature_dim = 0 if encoder is None else encoder.dim
        self.levels = 0 if codec is None else codec.levels  # codebooks
        self.size = 0 if codec is None else codec.size  # codes a codebook
        self._checked: Path | None = None
        self._longest_text: int | None = None

    def ready_codec(self) -> Codec:
        """The codec with the codebooks that were fitted for the shards and the vocoder that its `vocoder` names, so
        that it can encode and decode. The attribute `codec` becomes this codec. One that decodes with a vocoder, but
        names none, can only encode.

        Raises `VocolabError` where the shards are not prepared, or the vocoder's file holds none or does not fit.
        """
        if self.codec is None:
            raise UsageError("the data has no codec", "data.codec", "name one, as ../configs/codec/encodec_24khz.yaml")
        if self.codec is self.preparation.codec:
            codec = copy.deepcopy(self.codec)
            if not codec.fitted:
                load_state(codec, self._root() / STATE)
            if (vocoder := self._named_vocoder()) is not None:
                codec.receive(load_vocoder(vocoder).vocoder)
            self.codec = codec
        return self.codec

    def check(self) -> None:
        """Raise `VocolabError` where the codec names a vocoder that does not exist. The preparation does not need it,
        and training would ask for it only hours later.
        """
        vocoder = self._named_vocoder()
        if vocoder is not None and not vocoder.exists():
            remedy = (
                "train it first, for example with recipes/quickstart-tts-vocoder.yaml, or correct --data.codec.vocoder"
            )
            raise VocolabError("no such vocoder", vocoder, remedy)

    def _named_vocoder(self) -> Path | None:
        vocoder = getattr(self.codec, "vocoder", None)
        return Path(vocoder) if isinstance(vocoder, (str, Path)) else None

    def symbol_map(self) -> SymbolMap:
        """The ids of the symbols and languages in the shards. Raises `VocolabError` where they hold none."""
        return read_symbols(self._root())

    def longest_text(self) -> int:
        """Symbols of the longest text that is trained on, without `<s>` and `</s>`."""
        if self._longest_text is None:
            index = Index.open(self._root(), "train")
            most = getattr(self.batches, "max_seconds", None)
            frames = math.inf if most is None else most * index.sample_rate / index.hop
            symbols = index.rows["symbols"][index.rows["frames"] <= frames]
            self._longest_text = max(0, int(symbols.max(initial=0)) - 2)
        return self._longest_text

    def longest_batch(self) -> SpeechBatch:
        """A training batch that takes as much memory as any, as the loader gives it (CPU, stored types)."""
        return self._training().longest()

    def spec(self) -> dict[str, Any]:
        """Everything that decides the numbers in the shards."""
        return self.preparation.spec()

    def folder(self) -> Path:
        """Where the shards are or will be."""
        return self.preparation.default_folder() if self.shards is None else Path(self.shards)

    def prepare(self, workers: int | None = None) -> Path:
        """Make the shards if they are missing, else check that they were made from this data.

        Returns their folder. Call it before any process group exists: it may take hours, and the ranks of a group time
        out waiting. Under torchrun or SLURM every process calls it and they share the work.
        """
        from vocolab.data.preparation.prepare import prepare

        self._checked = prepare(self.preparation, self.shards, self.prepare_workers if workers is None else workers)
        return self._checked

    def prepare_data(self) -> None:
        """Prepare, in a run of one process. In a process group nothing is prepared: `setup` refuses missing shards."""
        if self._checked is None and not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            self.prepare()

    def setup(self, stage: str) -> None:
        if self._checked is None:
            folder = self.folder()
            check_shards(folder, self.spec())
            self._checked = folder

    def train_dataloader(self) -> TrainLoader:
        if self.trainer is not None and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            remedy = "train on a corpus of few utterances instead"
            raise UsageError(
                "batches are planned for whole epochs, and none is repeated", "trainer.overfit_batches", remedy
            )
        dataset = self._training()
        self._report("train", self.batches, dataset.plan(0), len(dataset.reader.index))
        self._report_unknown()
        # Lightning's count of finished batches tells where a resumed run goes on. A count of the batches handed out
        # would be wrong where a run dies within an update.
        position = 0
        if self.trainer is not None:
            finished = self.trainer.fit_loop.epoch_loop.batch_progress.total
            assert isinstance(finished, _ProcessedTracker)
            position = finished.processed
        return TrainLoader(dataset, self.workers, self._pin_memory(), position)

    def val_dataloader(self) -> EvaluationLoader | list:
        fitting = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        return self._evaluation("val", required=not fitting)

    def test_dataloader(self) -> EvaluationLoader | list:
        return self._evaluation("test", required=True)

    def predict_dataloader(self) -> EvaluationLoader | list:
        return self._evaluation("test", required=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch.unpacked() if isinstance(batch, SpeechBatch) else batch

    def _training(self) -> PlannedBatches:
        """The batches of this rank. Raises `VocolabError` where there are none."""
        dataset = PlannedBatches(self._root(), "train", self.batches, self.seed, *self._ranks())
        if not dataset.length():
            plan = dataset.plan(0)
            needed = f"{plan.size} on each of {dataset.ranks} ranks" if dataset.ranks > 1 else str(plan.size)
            raise VocolabError(
                f"the train split gives {plan.count} samples for a batch, fewer than {needed}",
                self._root(),
                self.batches.remedy,
            )
        return dataset

    def _evaluation(self, split: str, required: bool) -> EvaluationLoader | list:
        root, lacking = self._root(), f"no {split} split"
        there = split in read_manifest(root)["splits"]
        if required and not there:
            remedy = f"set --data.corpus.{split} to what is to be held out (in a manifest: rows of split {split})"
            raise VocolabError(f"the shards have no {split} split", root, f"{remedy} and another --data.shards if set")
        if there:
            dataset = CoveringBatches(root, split, self.val_batches, 0, *self._ranks())
            if dataset.length():
                self._report(split, self.val_batches, dataset.plan(0), len(dataset.reader.index))
                return EvaluationLoader(dataset, self.workers, self._pin_memory())
            error = VocolabError(f"the {split} split is empty", root, "choose a corpus that has one")
            if count := len(dataset.reader.index):
                lacking = f"{count} {split} utterances, all of them {self.val_batches.left_out}"
                error = VocolabError(lacking, root, self.val_batches.remedy)
            if required:
                raise error
        self._warn(f"{root}: {lacking}, so no validation")
        warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")  # Lightning's words for it
        return []

    def _root(self) -> Path:
        self.setup("")
        assert self._checked is not None
        return self._checked

    def _ranks(self) -> tuple[int, int]:
        """This process's rank and the number of ranks."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _pin_memory(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _report(self, split: str, batches: Batches, plan: Plan, of: int) -> None:
        """Warn of utterances that a plan leaves out, or prompts with themselves."""
        if plan.left_out:
            why = batches.left_out
            self._warn(f"{self._root()}: {plan.left_out} of {of} {split} utterances are {why} and left out")
        if alone := getattr(plan, "alone", 0):
            what = "the only one of their speaker: their prompts are cut from themselves"
            self._warn(f"{self._root()}: {alone} of {of} {split} utterances are {what}")

    def _report_unknown(self) -> None:
        """Warn of the symbols in held-out texts that no training text has."""
        for split, counts in read_manifest(self._root()).get("unknown_symbols", {}).items():
            for fate, marks in (("are left out", True), ("become <unk>", False)):
                chosen = [f"{s!r}×{count}" for s, count in counts.items() if is_punctuation(s) == marks]
                if chosen:
                    shown = " ".join(chosen[:8]) + (f" and {len(chosen) - 8} more" if len(chosen) > 8 else "")
                    self._warn(f"{self._root()}: symbols of {split} that train lacks {fate}: {shown}")

    def _warn(self, line: str) -> None:
        if self._ranks()[0] == 0:
            log.warning(line)
