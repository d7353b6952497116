"""The fine-tuning of a vocoder on what a language model predicts, in step with recordings ("ground-truth aligned":
Shen et al. 2018, Tacotron 2, section 2.3; Kong et al. 2020, HiFi-GAN, section 4.4).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vocolab.checkpoints import check_same_model, load_lm, section
from vocolab.codecs import KMeansCodec
from vocolab.data.batches import SpeechBatch
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import Response
from vocolab.tasks.base import Spoken, field
from vocolab.tasks.identity import check_codec
from vocolab.tasks.schedules import Schedule, Scheduler
from vocolab.tasks.translation import Translation
from vocolab.tasks.vocoder import VocoderTask, adamw
from vocolab.text.symbols import SymbolMap
from vocolab.vocoders.base import Vocoder
from vocolab.vocoders.discriminators import Discriminator
from vocolab.vocoders.losses import WaveLoss

OWN = "vocoder."  # the vocoder's names in this task, as in any training of a vocoder
SPOKEN = "codec.vocoder."  # its names in a checkpoint of a language model


class AlignedVocoderTask(VocoderTask):
    """Fine-tune the vocoder of a trained model's codec to speak the codes that the model predicts; the model stays.

    Of each utterance the first codebook is the recording's own, and the model predicts the others from it, the text and
    a prompt. So the frames are in step with the recording, but have the model's faults, which the vocoder learns to
    make good. The codec must decode through a vocoder: a `KMeansCodec`.

    A checkpoint of this task holds the whole model beside the vocoder, and is spoken with as the one before it.
    """

    codec: KMeansCodec

    def __init__(
        self,
        trained: Path,
        frames: int = 16,
        crops: int = 2,
        discriminator: Discriminator | None = None,
        losses: list[WaveLoss] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = adamw,
        schedule: Schedule | Scheduler | None = None,
        adversarial: float = 1.0,
        feature_matching: float = 1.0,
        adversarial_from: int = 0,
        max_grad_norm: float | None = None,
    ):
        """
        Args:
            trained: a checkpoint or an export of the model, of the same codec as the data.
            frames: codec frames that the vocoder hears at once in training.
            crops: how many such pieces are cut from each utterance of a batch.

        The others are those of `VocoderTask`.
        """
        for name, value in (("frames", frames), ("crops", crops)):
            if value < 1:
                raise UsageError(f"{name} is {value}", "model.init_args", "give a whole number above 0")
        loaded = load_lm(trained)
        codec = loaded.codec
        if not (isinstance(codec, KMeansCodec) and isinstance(codec.vocoder, Vocoder)):
            what = f"its codec, {type(codec).__name__}, decodes without a vocoder that could be trained"
            raise VocolabError(what, trained, "give a model of a KMeansCodec with a vocoder")
        super().__init__(
            codec.vocoder.requires_grad_(True),
            discriminator,
            losses,
            optimizer,
            schedule,
            adversarial,
            feature_matching,
            adversarial_from,
            max_grad_norm=max_grad_norm,
        )
        self.trained, self.frames, self.crops = trained, frames, crops
        self.lm = loaded.lm.requires_grad_(False)
        self.trained_card, self.sampling = loaded.meta, loaded.sampling
        self.__dict__["codec"] = codec  # not a submodule: its vocoder is one already
        self.translation = Translation(SymbolMap(), SymbolMap())
        self.train()  # Lightning leaves each module as it finds it

    def setup(self, stage: str) -> None:
        super().setup(stage)
        card = check_codec(self.trained_card, self.data.ready_codec(), self.trained)
        self.translation = Translation.to_model(card, self.data.symbol_map(), self.lm)
        self.codec.to(self.trainer.strategy.root_device)

    def training_step(self, batch: SpeechBatch, batch_idx: int) -> None:
        super().training_step(self._cut(self.predicted(batch)), batch_idx)

    def validation_step(self, batch: SpeechBatch, batch_idx: int) -> Tensor:
        return super().validation_step(self.predicted(batch), batch_idx)

    def test_step(self, batch: SpeechBatch, batch_idx: int) -> Tensor:
        return super().test_step(self.predicted(batch), batch_idx)

    def speak(self, batch: SpeechBatch, seeds: Tensor | None = None, most: float = math.inf) -> list[Spoken]:
        return super().speak(self.predicted(batch), seeds, most)

    @torch.no_grad()
    def predicted(self, batch: SpeechBatch) -> SpeechBatch:
        """The batch with the log-mels (B, L, n_mels) of the codes that the model predicts, as `feats`; its lengths then
        count the frames of the vocoder.
        """
        condition = self.translation.condition(batch, self.lm)
        lengths = field(batch, "lengths")
        first = Response.given(field(batch, "codes")[:, :1], lengths)
        seeds = torch.randint(1 << 31, lengths.shape, device=lengths.device)
        feats = self.codec.mel(self.lm.generate_rest(condition, self.sampling, first, seeds).codes)
        return dataclasses.replace(batch, feats=feats, lengths=lengths * self.codec.hops)

    def _cut(self, batch: SpeechBatch) -> SpeechBatch:
        """`crops` pieces of `frames` of the codec from anywhere in each utterance, or all pieces as long as the
        shortest utterance.
        """
        lengths, feats, audio = (field(batch, name) for name in ("lengths", "feats", "audio"))
        frames = min(self.frames * self.codec.hops, int(lengths.min()))
        rows = torch.arange(len(lengths), device=lengths.device).repeat(self.crops)
        places = torch.rand(len(rows), device=lengths.device)
        starts = (places * (lengths[rows] - frames + 1)).long()
        hop = self.vocoder.hop
        return dataclasses.replace(
            batch,
            feats=_pieces(feats, rows, starts, frames),
            audio=_pieces(audio, rows, starts * hop, frames * hop),
            lengths=torch.full_like(starts, frames),
        )

    def train(self, mode: bool = True) -> AlignedVocoderTask:
        """The vocoder alone: the model draws no dropout."""
        super().train(mode)
        self.lm.eval()
        return self

    def card(self) -> dict[str, Any]:
        return dict(self.trained_card)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the vocoder where `TTS` looks for that of a language model's codec."""
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"]
        books = {f"codec.{key}": value for key, value in self.codec.state_dict().items() if not key.startswith(OWN)}
        spoken = {SPOKEN + key: value for key, value in section(state, OWN).items()}
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith(OWN)} | books | spoken

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        remedy = f"begin anew, or give the model of that run in place of {self.trained} (model.trained)"
        what = "its vocoder was trained for another model"
        check_same_model(self.lm.state_dict(), section(state, "lm."), self.trainer.ckpt_path, remedy, what)
        own = {OWN + key: value for key, value in section(state, SPOKEN).items()}
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith("codec.")} | own


def _pieces(x: Tensor, rows: Tensor, starts: Tensor, length: int) -> Tensor:
    """x[rows[i], starts[i] : starts[i] + length] for each i, as (n, length, ...)."""
    return x[rows[:, None], starts[:, None] + torch.arange(length, device=x.device)]
