"""The training of a vocoder: HiFi-GAN's recipe (Kong et al. 2020, §2.3) for any vocoder, discriminator and waveform
losses.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vocolab.audio import LogMel
from vocolab.checkpoints import OfficialTraining, load_weights, read_training
from vocolab.data.batches import SpeechBatch
from vocolab.errors import UsageError
from vocolab.metrics import mel_distance
from vocolab.parts import describe
from vocolab.precision import any_length
from vocolab.tasks.base import Spoken, Task, field, located
from vocolab.tasks.graph import Terms, Update, graphed
from vocolab.tasks.schedules import Schedule, Scheduler
from vocolab.vocoders import channels_last
from vocolab.vocoders.base import Vocoder
from vocolab.vocoders.discriminators import Discriminator
from vocolab.vocoders.losses import MelLoss, WaveLoss, discriminator_loss, generator_losses


def adamw(params: Iterable[nn.Parameter]) -> Optimizer:
    """HiFi-GAN's optimizer."""
    return torch.optim.AdamW(params, lr=2e-4, betas=(0.8, 0.99), weight_decay=0.01)


@dataclass
class Networks:
    """What an update computes with; not modules of the task, which has their parameters already."""

    vocoder: Vocoder
    discriminator: Discriminator | None


class VocoderTask(Task):
    """Train `vocoder` to turn features back into their speech.

    Each update: the discriminator learns to tell the batch's speech from the vocoder's, then the vocoder learns to
    mislead it, to match its feature maps and to reduce the weighted sum of `losses`. `adversarial` and
    `feature_matching` weigh the paper's terms. Without a `discriminator`, or before update `adversarial_from`, only the
    `losses` count. One batch is one update, whatever the number of optimizers.
    """

    automatic_optimization = False  # a class attribute, since the recipe asks for it before anything is built
    networks: Networks  # while it trains
    run: Update  # `update`, in the form that the device runs best

    def __init__(
        self,
        vocoder: Vocoder,
        discriminator: Discriminator | None = None,
        losses: list[WaveLoss] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = adamw,
        schedule: Schedule | Scheduler | None = None,
        adversarial: float = 1.0,
        feature_matching: float = 1.0,
        adversarial_from: int = 0,
        feature_noise: float = 0.0,
        initialize_from: str | Path | None = None,
        max_grad_norm: float | None = None,
        continue_from: str | Path | None = None,
        cuda_graph: bool = False,
    ):
        """`feature_noise`: standard deviation of the noise added to the features in training, for a vocoder that is to
        speak quantised or predicted features. `initialize_from`: start from the weights of a checkpoint, ours or an
        official `g_*` or `do_*`, or of both official files in a folder, for fine-tuning. `max_grad_norm`: a longer
        gradient, of the vocoder or of the discriminator, is shortened to it (BigVGAN: 1000). The trainer's own clipping
        cannot do it for two optimizers. `continue_from`: go on with a training of the official program, from a folder
        that holds its `g_*` and `do_*` or from one of the two files: weights, optimizer states and the number of
        updates. A resume overrides it, and `initialize_from`. `cuda_graph`: on one GPU, run each update as one CUDA
        graph (tasks/graph.py), where it can be one.
        """
        super().__init__(schedule)
        self.vocoder = vocoder
        self.discriminator = discriminator
        self.losses = nn.ModuleList([MelLoss()] if losses is None else losses)
        self.optimizer = optimizer
        self.feature_matching, self.adversarial, self.adversarial_from = feature_matching, adversarial, adversarial_from
        if feature_noise < 0:
            raise UsageError(f"feature_noise is {feature_noise}", "model.init_args", "give 0 or more")
        self.feature_noise = feature_noise
        if initialize_from is not None and continue_from is not None:
            raise UsageError("both initialize_from and continue_from", "model.init_args", "give one of them")
        self.initialize_from, self.continue_from = initialize_from, continue_from
        self._continued: OfficialTraining | None = None
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise UsageError(f"max_grad_norm is {max_grad_norm}", "model.init_args", "give a number above 0, or null")
        self.max_grad_norm, self.cuda_graph = max_grad_norm, cuda_graph
        self.log_mel = LogMel(sample_rate=vocoder.sample_rate, hop=vocoder.hop)

    @property
    def sample_rate(self) -> int:
        return self.vocoder.sample_rate

    def setup(self, stage: str) -> None:
        if stage != "fit" or self.trainer.ckpt_path:
            return
        if self.initialize_from is not None:
            load_weights(self, self.initialize_from)
        if self.continue_from is not None:
            self._continued = self._begin_after(read_training(self.continue_from))

    def _begin_after(self, training: OfficialTraining) -> OfficialTraining:
        """Take the weights of a training, and its place in the data and in the schedule."""
        if self.discriminator is None:
            remedy = "give model.discriminator, or initialize_from to start anew from its weights"
            raise UsageError("a training without discriminator", training.path, remedy)
        if 0 <= self.trainer.max_steps <= training.updates:
            what = f"{training.updates} updates are done, max_steps is {self.trainer.max_steps}"
            raise UsageError(what, training.path, "set --trainer.max_steps to a later one")
        training.fill(self.vocoder, self.discriminator)
        loop = self.trainer.fit_loop
        places: list[tuple[Any, int]] = [
            (loop.epoch_progress.current, training.epoch),
            (loop.epoch_progress.total, training.epoch),
            (loop.epoch_loop.batch_progress.total, training.updates),
            (loop.epoch_loop.manual_optimization.optim_step_progress.total, training.updates),
        ]
        for counts, number in places:
            for name in vars(counts):
                setattr(counts, name, number)
        return training

    def on_train_start(self) -> None:
        super().on_train_start()
        training, self._continued = self._continued, None
        # In `setup` a trainer does not say yet that its first fit is a resume.
        if training is not None and self.discriminator is not None and not self.trainer.ckpt_path:
            training.restore(self.trainer.optimizers, self.vocoder, self.discriminator)
            self.follow_recipe()
        # Last, since both look at parameters and optimizers as they are from here on.
        self.networks = self.arranged()
        clips = self.max_grad_norm is not None
        self.run = graphed(self.update, self.trainer, clips) if self.cuda_graph else self.update

    def on_train_end(self) -> None:
        self.run = self.update  # a graph keeps gigabytes

    def arranged(self) -> Networks:
        """The networks as the device trains them best, with the same parameters."""
        if self.device.type != "cuda":
            return Networks(self.vocoder, self.discriminator)
        judge = None if self.discriminator is None else channels_last.prepare(self.discriminator)
        return Networks(channels_last.prepare(self.vocoder), judge)

    def configure_optimizers(self) -> list[Optimizer]:
        optimizers = [self.optimizer(self.vocoder.parameters())]
        if self.discriminator is not None:
            optimizers.append(self.optimizer(self.discriminator.parameters()))
        return optimizers

    def training_step(self, batch: SpeechBatch, batch_idx: int) -> None:
        adversarial = self.discriminator is not None and self.global_step >= self.adversarial_from
        terms = self.run(field(batch, "audio"), field(batch, "feats"), adversarial)
        self._count_update()
        for name, value in terms.items():
            self.log(f"train/{name}", value)

    def update(self, real: Tensor, feats: Tensor, adversarial: bool) -> Terms:
        """One update, from waveforms (B, T) and features (B, L, C); what to log of it.

        A CUDA graph repeats the kernels of one call. So nothing in it may wait for a value on the device, or depend on
        anything in Python that changes while these three stay alike.
        """
        if self.feature_noise > 0:
            feats = feats + self.feature_noise * torch.randn_like(feats)
        fake = self.networks.vocoder(feats)  # (B, T)
        discriminator = self.networks.discriminator if adversarial else None
        terms = {}
        if discriminator is not None:
            terms["discriminator"] = self._step_discriminator(discriminator, real, fake.detach())
        return terms | self._step_vocoder(discriminator, real, fake)

    def _step_discriminator(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        loss = discriminator_loss(*discriminator.pair(real, fake))
        self._step(self.trainer.optimizers[1], loss)
        return loss.detach()

    def _step_vocoder(self, discriminator: Discriminator | None, real: Tensor, fake: Tensor) -> Terms:
        named = zip(_names(self.losses), self.losses, strict=True)
        terms = {name: loss.weight * loss(fake, real) for name, loss in named}
        if discriminator is not None:
            misled, matched = generator_losses(discriminator, real, fake)
            terms |= {"adversarial": self.adversarial * misled, "feature_matching": self.feature_matching * matched}
        total = sum(terms.values())
        self._step(self.trainer.optimizers[0], total)
        return {name: value.detach() for name, value in {"loss": total, **terms}.items()}

    def _step(self, optimizer: Optimizer, loss: Tensor) -> None:
        """Through the strategy, not Lightning's wrapper of the optimizer: that counts each step as an update."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        self._clip(optimizer)
        self.trainer.strategy.optimizer_step(optimizer, lambda: None)

    def _count_update(self) -> None:
        """One a batch, whatever the number of optimizers: `global_step` and `max_steps` go by it."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()

    def _clip(self, optimizer: Any) -> None:
        if self.max_grad_norm is not None:
            self.clip_gradients(optimizer, self.max_grad_norm, "norm")

    def validation_step(self, batch: SpeechBatch, batch_idx: int) -> Tensor:
        return self._evaluate(batch, "val")

    def test_step(self, batch: SpeechBatch, batch_idx: int) -> Tensor:
        return self._evaluate(batch, "test")

    def predict_step(self, batch: SpeechBatch, batch_idx: int) -> list[Tensor]:
        return [spoken.wav for spoken in self.speak(batch)]

    @any_length()
    def speak(self, batch: SpeechBatch, seeds: Tensor | None = None, most: float = math.inf) -> list[Spoken]:
        """The batch's features, vocoded: nothing is drawn, and the length is that of the features."""
        rows = zip(self.vocoder(field(batch, "feats")), field(batch, "audio_lengths").tolist(), strict=True)
        return [Spoken(wav[:samples]) for wav, samples in rows]

    @any_length()
    def _evaluate(self, batch: SpeechBatch, split: str) -> Tensor:
        """Vocode whole utterances (B, T), log the mean distance of their log-mels over real frames, and return them for
        the callbacks.
        """
        fake = self.vocoder(field(batch, "feats"))
        mel, real = self.log_mel(fake), self.log_mel(field(batch, "audio"))
        distance, frames = mel_distance(mel, real, field(batch, "lengths"))
        self.log(f"{split}/mel_l1", distance, batch_size=int(frames), on_epoch=True, sync_dist=True, prog_bar=True)
        return fake

    def card(self) -> dict[str, Any]:
        data = getattr(self.trainer, "datamodule", None)
        return {
            "kind": "vocoder",
            "vocoder": describe(self.vocoder),
            "encoder": located(describe(getattr(data, "encoder", None))),
            "matching": _matching(data),
            "sample_rate": self.vocoder.sample_rate,
            "hop": self.vocoder.hop,
        }


def _matching(data: Any) -> dict[str, Any]:
    """How features were matched in training, which is how `convert` matches unless told otherwise."""
    preparation = getattr(data, "preparation", None)
    matching, synthesis = (None, None) if preparation is None else preparation.layers
    topk = getattr(getattr(data, "prematch", None), "topk", 4)
    return {"topk": topk, "matching_layer": matching, "synthesis_layer": synthesis}


def _names(losses: Iterable[nn.Module]) -> list[str]:
    """A metric's name for each loss: that of its class, numbered from the second of a class on."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for loss in losses:
        name = _snake(type(loss).__name__)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names


def _snake(name: str) -> str:
    """MultiResolutionSTFTLoss -> multi_resolution_stft_loss, as metrics are named."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
