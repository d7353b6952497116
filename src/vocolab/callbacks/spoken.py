"""Held-out texts as the language model speaks them, at every validation."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vocolab.audio import log_mel, write
from vocolab.callbacks.samples import log_audio, log_sample
from vocolab.codecs.base import Codec
from vocolab.data.batches import SpeechBatch
from vocolab.errors import VocolabError
from vocolab.lm import AR, NAR, LanguageModel, fast, first_codebook
from vocolab.lm.base import Condition, Response
from vocolab.lm.sampling import Sampling
from vocolab.pictures import Alignment, spoken_figure

if TYPE_CHECKING:
    from vocolab.tasks import VALLETask

log = logging.getLogger(__name__)
MOST = 1.5  # times the true length, where a response that does not stop is cut


@dataclass
class Version:
    """One way of saying an utterance."""

    name: str  # "": what the whole model makes
    title: str
    codes: Tensor  # (k, L)


class SpokenSamples(Callback):
    """Speak the first `count` utterances of each validation into RUN/samples/step=%08d, and hand them to TensorBoard
    and W&B where those log.

    KEY.wav is what the whole model makes of the text and the prompt, KEY-first.wav its first codebook alone,
    KEY-given.wav what the NAR makes of the true first codebook; KEY-reference.wav and KEY-prompt.wav are the true codes
    decoded. KEY.png shows codes, mels, and how much each symbol of the text adds to each frame of the first codebook.
    Where the codec cannot decode, only pictures without mels are written.
    """

    FILES: ClassVar[dict[str, str]] = {  # what the files are, for the run's README
        "KEY.wav": "a held-out text, spoken in the voice of a prompt",
        "KEY-first.wav": "its first codebook alone",
        "KEY-given.wav": "the other codebooks predicted from the recording's own first one",
        "KEY-reference.wav": "the recording of the text, by the codec: the best that the model could do",
        "KEY-prompt.wav": "the prompt, by the codec",
        "KEY.png": "codes, log-mels, and how much each symbol of the text adds to each frame",
    }

    def __init__(self, count: int = 2):
        self.count = count
        self._taken = 0
        self._mute = False
        self._told: set[str] = set()  # utterances whose reference and prompt the loggers have

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
        rows = torch.arange(min(self.count - self._taken, len(batch.keys)), device=pl_module.device)
        self._taken += len(rows)
        if len(rows):
            task = cast("VALLETask", pl_module)
            assert batch.codes is not None and batch.lengths is not None
            condition = task.condition(batch).select(rows)
            codec = self._speaker(task)
            said = versions(fast.prepare(task.lm), condition, batch.codes[rows], batch.lengths[rows], task.sampling)
            for row, (key, spoken) in enumerate(zip(batch.keys, said, strict=False)):
                self._keep(trainer, key, spoken, codec, _alignment(task, condition.select(rows[row : row + 1]), spoken))

    def _speaker(self, task: VALLETask) -> Codec | None:
        """The codec, or None where it cannot decode, with a warning the first time."""
        if self._mute:
            return None
        try:
            codec = task.speaker()
            codec.check_can_decode()
            return codec
        except VocolabError as error:
            self._mute = True
            log.warning(f"samples are written without audio: {error}")
            return None

    def _keep(
        self, trainer: Trainer, key: str, spoken: list[Version], codec: Codec | None, alignment: Alignment | None
    ) -> None:
        folder = Path(trainer.default_root_dir) / "samples" / f"step={trainer.global_step:08d}"
        wavs: dict[str, Tensor] = {}
        mels: dict[str, Tensor] = {}
        if codec is not None:
            wavs = {v.name: codec.decode(v.codes[None])[0].float().cpu() for v in spoken}
            for name, wav in wavs.items():
                stem = f"{key}-{name}" if name else key
                write(folder / f"{stem}.wav", wav, codec.sample_rate, overwrite=True)
            mels = {v.title: _mel(wavs[v.name], codec) for v in spoken}
        codes = {v.title: v.codes.cpu() for v in spoken if v.name in ("", "first", "reference")}
        frame = 1 / codec.frame_rate if codec is not None else 0.02
        figure = spoken_figure(codes, mels, folder / f"{key}.png", frame, alignment)
        if codec is not None:
            for logger in trainer.loggers:
                log_sample(logger, key, wavs[""], codec.sample_rate, figure, trainer.global_step)
                for name in () if key in self._told else ("reference", "prompt"):
                    log_audio(logger, f"{name}/{key}", wavs[name], codec.sample_rate, trainer.global_step)
            self._told.add(key)


def _alignment(task: VALLETask, condition: Condition, spoken: list[Version]) -> Alignment | None:
    """How much each symbol adds to each frame of what was spoken. None for a NAR alone."""
    first = first_codebook(task.lm)
    codes = next(version.codes for version in spoken if not version.name)
    if first is None or not codes.shape[1]:
        return None
    length, count = torch.tensor([codes.shape[1]], device=codes.device), int(condition.text_lengths[0])
    added = first.alignment(condition, codes[None], length)[0, :count].float().cpu()
    return added, [task.translation.map.symbols[i] for i in condition.text[0, :count].tolist()]


def _mel(wav: Tensor, codec: Codec) -> Tensor:
    """The log-mel (80, L) of wav (T,), one frame for each of the codec's. Too short a wav is padded with silence."""
    n_fft = max(1024, 2 * codec.hop)
    wav = torch.nn.functional.pad(wav, (0, max(0, n_fft - len(wav))))
    return log_mel(wav, codec.sample_rate, n_fft, codec.hop, fmax=min(8000.0, codec.sample_rate / 2))


def versions(
    lm: LanguageModel, condition: Condition, codes: Tensor, lengths: Tensor, sampling: Sampling
) -> list[list[Version]]:
    """For each utterance, what `lm` makes of its condition, and its true `codes` (B, K, L).

    The seeds are fixed, so every validation draws the same numbers. A response that does not stop is cut at 1.5 times
    the longest true length.
    """
    seeds = torch.arange(len(condition))
    sampling = dataclasses.replace(sampling, max_ar_steps=int(MOST * int(lengths.max())) + 1)
    true_first = Response.given(codes[:, :1], lengths)
    given = None if isinstance(lm, AR) else lm.generate(condition, sampling, true_first, seeds)
    whole = given if given is not None and isinstance(lm, NAR) else lm.generate(condition, sampling, seeds=seeds)
    said = []
    for row in range(len(condition)):
        made, frames, prompt = int(whole.lengths[row]), int(lengths[row]), int(condition.prompt_lengths[row])
        cut = "" if whole.stopped[row] else ", cut"
        found = [
            Version("prompt", "prompt", condition.prompt[row, :, :prompt]),
            Version("reference", "reference", codes[row, :, :frames]),
            Version("", f"spoken{cut}", whole.codes[row, :, :made]),
        ]
        if given is not None and given is not whole:
            found.append(Version("first", "spoken, first codebook alone", whole.codes[row, :1, :made]))
            found.append(Version("given", "spoken from the true first codebook", given.codes[row, :, :frames]))
        said.append(found)
    return said
