"""Waveforms and pictures from every validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from vocolab.audio import log_mel, write
from vocolab.data.batches import SpeechBatch
from vocolab.pictures import mel_figure

if TYPE_CHECKING:
    from vocolab.tasks import VocoderTask


class Samples(Callback):
    """Write the first `count` utterances of each validation, vocoded, with a picture of their mels beside the
    original's, into RUN/samples/step=%08d, and the original into RUN/samples/original; hand them to TensorBoard and W&B
    where those log.
    """

    FILES: ClassVar[dict[str, str]] = {  # what the files are, for the run's README
        "KEY.wav": "a held-out utterance, vocoded; the recording is `samples/original/KEY.wav`",
        "KEY.png": "log-mels of both, over seconds",
    }

    def __init__(self, count: int = 5):
        self.count = count
        self._taken = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._taken = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: SpeechBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return  # `vocolab validate` leaves the run as training did
        audio, lengths = batch.audio, batch.audio_lengths
        assert audio is not None and lengths is not None
        for row in range(min(self.count - self._taken, len(audio))):
            fake, real = (wav[row, : int(lengths[row])].float().cpu() for wav in (outputs, audio))
            self._keep(trainer, batch.keys[row], fake, real, cast("VocoderTask", pl_module).sample_rate)
            self._taken += 1

    def _keep(self, trainer: Trainer, key: str, fake: Tensor, real: Tensor, sample_rate: int) -> None:
        step = trainer.global_step
        folder = Path(trainer.default_root_dir) / "samples" / f"step={step:08d}"
        write(folder / f"{key}.wav", fake, sample_rate, overwrite=True)
        mels = {"original": log_mel(real, sample_rate), "vocoded": log_mel(fake, sample_rate)}
        figure = mel_figure(mels, folder / f"{key}.png")
        original = folder.parent / "original" / f"{key}.wav"
        if not original.exists():
            write(original, real, sample_rate)
            for logger in trainer.loggers:
                log_audio(logger, f"original/{key}", real, sample_rate, step)
        for logger in trainer.loggers:
            log_sample(logger, key, fake, sample_rate, figure, step)


class Predictions(Callback):
    """Write the waveforms that `predict` makes to FOLDER/KEY.wav, every rank its own utterances."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: list[Tensor],
        batch: SpeechBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for key, wav in zip(batch.keys, outputs, strict=True):
            sample_rate = cast("VocoderTask", pl_module).sample_rate
            write(self.folder / f"{key}.wav", wav.float().cpu(), sample_rate, overwrite=True)


def log_sample(logger: Any, key: str, wav: Tensor, sample_rate: int, picture: Path, step: int) -> None:
    """Hand a waveform (T,) and its picture to a logger, if it is one that shows them."""
    log_audio(logger, key, wav, sample_rate, step)
    if isinstance(logger, TensorBoardLogger):
        from matplotlib.image import imread

        logger.experiment.add_image(key, torch.from_numpy(imread(picture)[..., :3].copy()), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image("mel/" + key, [str(picture)])


def log_audio(logger: Any, name: str, wav: Tensor, sample_rate: int, step: int) -> None:
    """Hand a waveform (T,) to a logger, if it is one that plays them."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_audio(name, wav[None], step, sample_rate)
    elif isinstance(logger, WandbLogger):
        logger.log_audio(f"audio/{name}", [wav.numpy()], step=None, sample_rate=[sample_rate])
