"""The training of language models of codes: VALL-E (Wang et al. 2023, §4) for any backbones."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vocolab.checkpoints import fill, read_checkpoint, section
from vocolab.codecs.base import Codec
from vocolab.data.batches import SpeechBatch
from vocolab.errors import UsageError
from vocolab.lm import NAR, Split, Unified, fast
from vocolab.lm.backbones.compiled import Compiled
from vocolab.lm.base import Condition, LanguageModel, Losses
from vocolab.lm.sampling import Sampling
from vocolab.parts import describe
from vocolab.tasks.base import Spoken, Task, field
from vocolab.tasks.compiling import compile_backbones, readable_failures
from vocolab.tasks.identity import check_codec, described_codec, learns
from vocolab.tasks.schedules import Schedule, Scheduler
from vocolab.tasks.tally import Clock, Figures, Tally
from vocolab.tasks.translation import Translation
from vocolab.tasks.trial import try_batch
from vocolab.text.symbols import SymbolMap

# An update's number of tokens is known when its last batch is done. Until then each loss, a sum over tokens, is divided
# by this number, so that gradients have about their final size: in half precision they could overflow.
UNIT = 4096.0


def adamw(params: Iterable[nn.Parameter]) -> Optimizer:
    """What most language models are trained with; the rate is that of the program `vall_e` (docs/synthesize.md)."""
    return torch.optim.AdamW(params, lr=3.25e-4, betas=(0.9, 0.95), weight_decay=0.01)


class VALLETask(Task):
    """Train `lm` to continue a text and a prompt with the codes of the response.

    The gradient of an update is that of the mean over all tokens of all its batches, on all ranks, however they are
    divided: accumulated batches are one big batch, two ranks are one. Under DeepSpeed, which keeps the gradients to
    itself, each batch's sum is divided by its own number of tokens on all ranks, and batches count alike.

    Before the first update the longest batch of the plan is tried.

    The way of the codes, each step taken once: the reader cuts int16 codes (B, K, L) out of the shards and checks that
    the codec has them; the data module makes them int64 on the device (`SpeechBatch.unpacked`); `condition` translates
    text and language to the ids of the model; `lm.loss` packs text, prompt and codes into one sequence, and its targets
    are the codes themselves.
    """

    def __init__(
        self,
        lm: LanguageModel,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = adamw,
        schedule: Schedule | Scheduler | None = None,
        aux_weight: float = 0.01,
        initialize_from: Path | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 (it cannot be changed)
        compile: bool | str = False,
    ):
        """
        Args:
            lm: what is trained: AR, NAR, both (Split) or one network for all levels (Unified).
            optimizer: makes the optimizer of all its parameters.
            schedule: factor on the learning rate, by update.
            aux_weight: weight of the loss that balances a mixture's experts.
            initialize_from: start from the weights and the symbols of a checkpoint of the same codec, for fine-tuning;
                a resume overrides it.
            sampling: how the trained model is to be sampled. It travels in the checkpoint, where `TTS` finds it; the
                flags of `vocolab synthesize` override it.
            compile: compile the backbones with torch.compile, for training; or the name of another back end of it than
                its own. The first minutes go to compiling. Sequences are padded to few lengths (`train/padding`).
        """
        super().__init__(schedule)
        self.lm = lm
        self.codec: Codec | None = None  # a codec fitted to the data, which travels with the model
        self.optimizer, self.aux_weight, self.initialize_from = optimizer, aux_weight, initialize_from
        self.sampling = sampling
        self.backend = ("inductor" if compile else None) if isinstance(compile, bool) else compile
        self._compiled: Compiled | None = None
        self.translation = Translation(SymbolMap(), SymbolMap())
        self._tokens = torch.zeros((), dtype=torch.float64)  # trained on so far, on all ranks
        self._tally, self._evaluated = Tally(), Tally()
        self._clock = Clock()

    @property
    def sample_rate(self) -> int:
        return self._data_codec.sample_rate

    # What is needed of the data

    @property
    def _data_codec(self) -> Codec:
        if self.data.codec is None:
            raise UsageError("a language model needs codes", "data.codec", "name a codec")
        return self.data.codec

    def setup(self, stage: str) -> None:
        if learns(self._data_codec):
            self.codec = self.data.ready_codec().requires_grad_(False).eval()
        symbols = self.data.symbol_map()
        if stage == "fit" and self.initialize_from is not None and not self.trainer.ckpt_path:
            self._begin_from(self.initialize_from, symbols)
        else:
            self.translation = Translation(symbols, symbols).check(self.lm)
        if stage == "fit" and self.backend is not None:
            self._compiled = compile_backbones(self.lm, self.backend, self.trainer.strategy)

    def _begin_from(self, path: Path, data: SymbolMap) -> None:
        """Take over the weights of a checkpoint and the meaning of its symbols; new symbols get unused rows."""
        content = read_checkpoint(path)
        card = self._checked(content, path)
        fill(self.lm, section(content["state_dict"], "lm."), path)
        self.translation = Translation.to_model(card, data, self.lm)

    def _checked(self, checkpoint: dict[str, Any], where: object) -> dict[str, Any]:
        """The card of a checkpoint. Raises `VocolabError` where it is not of a language model of the data's codes."""
        return check_codec(checkpoint.get("vocolab", {}), self._known_codec, where)

    @property
    def _known_codec(self) -> Codec:
        """The codec that travels with the model, or that of the data."""
        return self._data_codec if self.codec is None else self.codec

    def condition(self, batch: SpeechBatch) -> Condition:
        """What is said and by whom, in the ids of the model."""
        return self.translation.condition(batch, self.lm)

    def loss(self, batch: SpeechBatch) -> Losses:
        """The losses of the model; one that trains a level a row draws them at random."""
        return self.lm.loss(self.condition(batch), field(batch, "codes"), field(batch, "lengths"))

    # Training

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer([p for p in self.lm.parameters() if p.requires_grad])

    def training_step(self, batch: SpeechBatch, batch_idx: int) -> Tensor:
        losses = self.loss(batch)
        self._tally.add(losses)
        # Lightning divides by the batches of the update, and the mean over ranks by their number.
        share = self.trainer.world_size * self.trainer.accumulate_grad_batches
        return self._objective(losses) * (share / self._divisor(losses))

    def _objective(self, losses: Losses) -> Tensor:
        """What the gradient is of, summed over tokens."""
        if losses.aux_loss is None:
            return losses.total
        return losses.total + self.aux_weight * losses.aux_loss * losses.tokens

    def _divisor(self, losses: Losses) -> Tensor | float:
        return self._reduce(losses.tokens.detach().clone()) if self._engine_owns_gradients else UNIT

    @property
    def _engine_owns_gradients(self) -> bool:
        """True under DeepSpeed: it accumulates, clips and steps itself, and shows no gradients."""
        return self.trainer.strategy.handles_gradient_accumulation

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the summed gradients by the number of tokens they were summed over, before they are clipped."""
        if self._engine_owns_gradients and not self._completes_update:
            return
        figures = self._tally.take(self._reduce)
        assert figures is not None  # `training_step` has added to it
        if not self._engine_owns_gradients:
            gradients = [p.grad for p in self.lm.parameters() if p.grad is not None]
            torch._foreach_mul_(gradients, (UNIT / figures.tokens).to(gradients[0].dtype))
        self._tokens = self._tokens.to(figures.tokens) + figures.tokens
        self.log("train/loss", figures.means["loss"], logger=False)
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set without being declared
        if (self.global_step + 1) % max(every, 1) == 0:
            self._log_update(figures, optimizer)

    def _log_update(self, figures: Figures, optimizer: Optimizer) -> None:
        """Log one row of metrics. `self.log` would repeat the last value of a level that no row drew this time."""
        tokens = float(self._tokens)
        metrics = figures.named("train") | {"train/lr": optimizer.param_groups[0]["lr"], "tokens_processed": tokens}
        metrics |= {"tokens_per_s": self._clock.rate(tokens), "epoch": self.current_epoch}
        if self._compiled is not None and (padding := self._compiled.padding()) is not None:
            metrics["train/padding"] = padding
        for logger in self.loggers:
            logger.log_metrics(metrics, step=self.global_step)

    # Evaluation

    def validation_step(self, batch: SpeechBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: SpeechBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def _evaluate(self, batch: SpeechBatch) -> None:
        """Every level of every utterance, whatever training draws."""
        condition, codes, lengths = self.condition(batch), field(batch, "codes"), field(batch, "lengths")
        for part, level in members(self.lm):
            levels = None if level is None else torch.full_like(lengths, level)
            self._evaluated.add(part.loss(condition, codes, lengths, levels))

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _log_evaluation(self, split: str) -> None:
        figures = self._evaluated.take(self._reduce)
        if figures is not None:
            metrics = figures.named(split) | {"tokens_processed": float(self._tokens)}
            self.log_dict(metrics, prog_bar=False)

    def predict_step(self, batch: SpeechBatch, batch_idx: int) -> list[Tensor]:
        seeds = batch_idx * 65536 + torch.arange(len(batch.keys))  # the same speech each time
        return [spoken.wav for spoken in self.speak(batch, seeds)]

    def speak(self, batch: SpeechBatch, seeds: Tensor, most: float = math.inf) -> list[Spoken]:
        """The batch's texts in the voices of its prompts."""
        codec = self.speaker()
        codec.check_can_decode()
        steps = min(self.sampling.max_ar_steps, most * int(field(batch, "lengths").max()))
        sampling = dataclasses.replace(self.sampling, max_ar_steps=int(steps))
        response = fast.prepare(self.lm).generate(self.condition(batch), sampling, seeds=seeds)
        rows = zip(response.codes, response.lengths.tolist(), response.stopped.tolist(), strict=True)
        with torch.autocast(self.device.type, enabled=False):  # waveforms need full precision
            return [Spoken(codec.decode(codes[None, :, :length])[0], ended) for codes, length, ended in rows]

    def speaker(self) -> Codec:
        """The codec, ready to decode on this device. Raises `VocolabError` where it lacks weights."""
        return self.data.ready_codec().load().to(self.device).eval()

    # Around training

    def on_fit_start(self) -> None:
        batch = self.trainer.strategy.batch_to_device(self.data.longest_batch())
        self._check_window(int(field(batch, "lengths").max()))
        failures = contextlib.nullcontext() if self._compiled is None else readable_failures()
        with self.trainer.precision_plugin.forward_context(), failures:
            try_batch(batch, self._trial, self.lm, backward=not self._engine_owns_gradients)

    def _check_window(self, longest: int) -> None:
        """Raises `UsageError` for a window that hides nothing of responses of at most `longest` frames: what is beyond
        it would then be new to the model.
        """
        if self.lm.window is not None and self.lm.window >= longest:
            what = f"a window of {self.lm.window} frames hides nothing, the longest response has {longest}"
            raise UsageError(what, "window", f"give less than {max(longest // 2, 1)}, or leave it out")

    def _trial(self, batch: SpeechBatch) -> Tensor:
        return self._objective(self.loss(batch)) / UNIT

    def on_train_start(self) -> None:
        super().on_train_start()
        self._clock.start(float(self._tokens))
        if self._compiled is not None:
            self._compiled.padding()  # that of the trial is nobody's

    def on_validation_start(self) -> None:
        self._clock.pause()

    def on_validation_end(self) -> None:
        self._clock.go_on()

    def on_train_batch_start(self, batch: SpeechBatch, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self._completes_update = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0

    def train(self, mode: bool = True) -> VALLETask:
        super().train(mode)
        if self.codec is not None:
            self.codec.eval()
        return self

    def _reduce(self, sums: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(sums, reduce_op="sum")

    # The checkpoint

    def card(self) -> dict[str, Any]:
        data, codec = self.data, self._data_codec
        seconds = getattr(data.batches, "prompt_seconds", None)
        return {
            "kind": "lm",
            "lm": describe(self.lm),
            "codec": described_codec(self._known_codec),
            "text": describe(data.text),
            "symbols": self.translation.map.symbols,
            "languages": self.translation.map.languages,
            "levels": codec.levels,
            "size": codec.size,
            "sample_rate": codec.sample_rate,
            "hop": codec.hop,
            "prompt": getattr(data.batches, "prompt", None),
            "longest_text": data.longest_text(),
            "sampling": dataclasses.asdict(self.sampling),
            "prompt_seconds": max(seconds) if isinstance(seconds, (list, tuple)) else seconds,
            "statistics": {"updates": self.global_step, "tokens": float(self._tokens)},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        card = self._checked(checkpoint, self.trainer.ckpt_path)
        self._tokens = torch.tensor(card["statistics"]["tokens"], dtype=torch.float64)
        self.translation = Translation.to_model(card, self.data.symbol_map(), self.lm)


def members(lm: LanguageModel) -> Iterator[tuple[LanguageModel, int | None]]:
    """What an evaluation measures: each network of `lm` with each level it draws in training, or None for an AR, which
    draws none.
    """
    for part in (lm.ar, lm.nar) if isinstance(lm, Split) else (lm,):
        if isinstance(part, (NAR, Unified)):
            yield from ((part, level) for level in range(isinstance(part, NAR), part.levels))
        else:
            yield part, None
