"""The training of draft heads for a language model that is trained already (Medusa-1, Cai et al. 2024, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from vocolab.checkpoints import check_same_model, load_lm, read_lm, section, stated_sampling
from vocolab.data.batches import SpeechBatch
from vocolab.errors import VocolabError
from vocolab.lm import MedusaHeads, first_codebook
from vocolab.lm.ar import FirstCodebook
from vocolab.lm.base import Losses
from vocolab.tasks.base import field
from vocolab.tasks.identity import check_codec
from vocolab.tasks.schedules import Schedule, Scheduler
from vocolab.tasks.translation import Translation
from vocolab.tasks.valle import VALLETask, adamw


class MedusaTask(VALLETask):
    """Train `heads` to foretell what the autoregressive model of a checkpoint says; that model stays as it is.

    A checkpoint of this task holds the whole model beside its heads, with the codec that travels with it. It is spoken
    with as the one before it, and with `--draft medusa`.
    """

    def __init__(
        self,
        trained: Path,
        heads: MedusaHeads,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = adamw,
        schedule: Schedule | Scheduler | None = None,
        compile: bool | str = False,
    ):
        """
        Args:
            trained: a checkpoint or an export of the model, of the same codec as the data.
            heads: what is trained, in place of heads that the model may have.
            optimizer: makes the optimizer of their parameters.
            schedule: factor on the learning rate, by update.
            compile: see `VALLETask`.
        """
        lm, card, _ = read_lm(trained)
        sampling = stated_sampling(card, trained)
        super().__init__(lm.requires_grad_(False), optimizer, schedule, sampling=sampling, compile=compile)
        self.trained, self.trained_card = trained, card
        self.first.set_drafts(heads.requires_grad_(True))
        self.train()  # Lightning leaves each module as it finds it

    @property
    def first(self) -> FirstCodebook:
        """The model that the heads belong to."""
        found = first_codebook(self.lm)
        if found is None:
            what = "a NAR alone, and frames are drafted for the first codebook"
            raise VocolabError(what, self.trained, "give a checkpoint of both (Split), of an AR or of Unified")
        return found

    def setup(self, stage: str) -> None:
        super().setup(stage)
        card = check_codec(self.trained_card, self._known_codec, self.trained)
        if self.codec is not None:  # that of the model: its codes are those of the data, its vocoder may be another
            self.codec = load_lm(self.trained).codec.requires_grad_(False)
        self.translation = Translation.to_model(card, self.data.symbol_map(), self.lm)

    def loss(self, batch: SpeechBatch) -> Losses:
        """The losses of the heads."""
        return self.first.draft_losses(self.condition(batch), field(batch, "codes"), field(batch, "lengths"))

    def _evaluate(self, batch: SpeechBatch) -> None:
        self._evaluated.add(self.loss(batch))

    def train(self, mode: bool = True) -> MedusaTask:
        """The heads alone: the model draws no dropout."""
        super().train(mode)
        self.lm.eval()
        if self.first.drafts is not None:
            self.first.drafts.train(mode)
        return self

    def card(self) -> dict[str, Any]:
        """Its statistics are those of the heads; its prompts are those that the model was trained with."""
        kept = {key: self.trained_card[key] for key in ("prompt", "prompt_seconds") if key in self.trained_card}
        return super().card() | kept

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        remedy = f"begin anew, or give the model of that run in place of {self.trained} (model.trained)"
        theirs = section(checkpoint["state_dict"], "lm.")
        check_same_model(self.lm.state_dict(), theirs, self.trainer.ckpt_path, remedy)
