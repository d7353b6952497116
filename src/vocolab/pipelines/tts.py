"""Speech from text in the voice of a few seconds of someone's speech (VALL-E, Wang et al. 2023)."""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vocolab.audio import Speech
from vocolab.codecs.base import Codec
from vocolab.errors import UsageError, VocolabError, memory_told
from vocolab.imports import import_parts
from vocolab.lm import NAR, Condition, LanguageModel, Sampling, fast, static
from vocolab.parts import build, describe
from vocolab.pipelines import passages, spoken_stream
from vocolab.pipelines.passages import Delivery
from vocolab.pipelines.pretrained import Pretrained
from vocolab.pipelines.reading import Reader
from vocolab.pipelines.references import Excerpt, excerpts, listed, whole
from vocolab.pipelines.spoken_stream import BLOCK, LOOKAHEAD, WHOLE, Chunk, SpokenStream, windows
from vocolab.precision import full_precision
from vocolab.text import SymbolMap, Text
from vocolab.text.normalisation import Normalised
from vocolab.vocoders.base import Vocoder

LONGEST_TEXT = 150  # symbols, where a checkpoint does not say how long the texts of its training were: ten seconds
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Prompt:
    """The voice that is to speak."""

    codes: Tensor  # (K, P)
    excerpts: list[Excerpt] = field(default_factory=list)


@dataclass
class Spoken:
    """One text, spoken."""

    wav: Tensor  # (T,) on the CPU
    codes: Tensor  # (k, L) on the CPU
    stopped: bool  # False: cut at `max_ar_steps`
    seconds: float  # of speech
    tokens_per_s: float  # codes a second of computing, of the batch it was decoded in
    passes: int = 0  # of the backbone for the first codebook; fewer than frames with a draft

    @property
    def frames(self) -> int:
        return self.codes.shape[1]


class TTS(Pretrained, nn.Module):
    """Say texts in the voice of references.

    What is said of a text depends on it, the references, the settings and the seed: not on the texts beside it (but for
    the rounding of floating-point numbers in batches of another size).
    """

    def __init__(
        self,
        lm: LanguageModel,
        codec: Codec,
        text: Text,
        symbols: SymbolMap,
        prompt_seconds: float | None = None,
        prompt_kind: str | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 (it cannot be changed)
        longest_text: int | None = None,
        cuda_graph: bool = True,
    ):
        """`text` and `symbols`: those of the training. `prompt_seconds`: how much of the references is used unless told
        otherwise, which should be what the model was trained with. `prompt_kind`: where its prompts were cut from
        (`vocolab.data.batches.TokenBudget`), where that is known. `sampling`: how it is sampled unless told otherwise.
        `longest_text`: symbols of the longest text of the training: longer ones are cut into pieces. `cuda_graph`: on a
        GPU, decode with `lm.static`: a step of the first codebook is recorded and repeated.
        """
        super().__init__()
        if isinstance(lm, NAR):
            remedy = "give a checkpoint of both (Split), of an AR alone or of one network for all (Unified)"
            raise VocolabError("a NAR alone cannot begin to speak", "TTS", remedy)
        if (lm.levels, lm.size) != (codec.levels, codec.size):
            what = f"codes of {codec.levels} levels of {codec.size}, the model speaks {lm.levels} of {lm.size}"
            raise VocolabError(what, type(codec).__name__, "give the codec the model was trained with")
        codec.check_can_decode()
        lm = fast.prepare(lm)
        self.lm = static.prepare(lm) if cuda_graph else lm
        self.codec, self.symbols, self.prompt_seconds = codec.eval(), symbols, prompt_seconds or 3.0
        # A model that is not told the language may still have been given each text in the phonemes of its own.
        self.reader = Reader(text, symbols, bool(lm.languages) or text.uses_language, prompt_kind)
        self.default_sampling, self.longest_text = sampling, longest_text or LONGEST_TEXT

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str = "cpu",
        dtype: str | None = None,
        codec: str | Path | Vocoder | None = None,
        imports: Sequence[str] = (),
        drafts: str | Path | None = None,
        cuda_graph: bool = True,
    ) -> TTS:
        """Load a checkpoint or a safetensors export of this project.

        `dtype`: of the language model's weights, float32, bfloat16 or float16. `codec`: where the codec's weights lie,
        where the checkpoint neither holds nor finds them; or the vocoder that its codec lacks, or a checkpoint of it.
        `imports`: modules that hold parts of it outside vocolab. `drafts`: a checkpoint whose draft heads are taken,
        trained for the same model. `cuda_graph`: see `TTS`. Raises `VocolabError` where the file holds no language
        model, the codec is not that of its training, or it cannot decode.
        """
        from vocolab.checkpoints import add_drafts, load_lm

        if dtype is not None and dtype not in DTYPES:
            raise UsageError(f"no such type {dtype!r}", "--dtype", f"give one of {', '.join(DTYPES)}")
        import_parts(imports)
        loaded = load_lm(path, codec)
        meta = loaded.meta
        if drafts is not None:
            add_drafts(loaded.lm, drafts)
        symbols = SymbolMap(meta["symbols"], meta["languages"])
        prompts = meta.get("prompt_seconds"), meta.get("prompt")
        text, longest = build(meta["text"], Text), meta.get("longest_text")
        tts = cls(loaded.lm, loaded.codec, text, symbols, *prompts, loaded.sampling, longest, cuda_graph)
        tts.lm.to(DTYPES[dtype or "float32"])
        tts.card = meta
        return tts.to(device)

    def _stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        assert self.card is not None
        state = {f"lm.{key}": value for key, value in self.lm.state_dict().items()}
        state |= {f"codec.{key}": value for key, value in self.codec.state_dict().items()}
        # Described anew: it may have received a vocoder, or other weights, since the checkpoint was written.
        codec = {**self.card["codec"], **describe(self.codec)}
        return {**self.card, "codec": codec, "codec_licence": self.codec.licence}, state

    @property
    def sample_rate(self) -> int:
        """Hz of the speech that comes out."""
        return self.codec.sample_rate

    @property
    def device(self) -> torch.device:
        return next(self.lm.parameters()).device

    @property
    def needs_ref_text(self) -> bool:
        """Whether the model must know what the references say: see `Reader`."""
        return self.reader.needs_ref_text

    def forward(
        self,
        text: str | Sequence[str],
        ref: Speech | Iterable[Speech],
        language: str | None = None,
        seed: int = 0,
        ref_text: str | None = None,
        ref_rate: int | None = None,
        speed: float = 1.0,
        pause: float = 1.0,
        normalize: bool = True,
        **sampling: Any,
    ) -> Tensor | list[Tensor]:
        """The waveform (T,) of a text, or a list of those of several, in the voice of `ref`: files, or
        waveforms (T,) or (1, T) of `ref_rate` Hz (default: `sample_rate`).

        `ref_text`: what the references say, for a model with `needs_ref_text`. `normalize`: whether numbers and the
        like are put in words first (`normalise`). `sampling`: fields of
        `vocolab.lm.Sampling`, such as `ar_temp=0.8`, where the model's own (`default_sampling`) are not wanted; the
        same seed gives the same speech.
        A text longer than those of the training is said in pieces (`pipelines.passages`), with pauses between them of
        `pause` times the usual lengths. `speed`: so many times as fast, by time stretching: the pitch stays.

        `passages.say` and `speak` tell more about each. Raises `VocolabError` for texts or references that will not do.
        """
        texts = [text] if isinstance(text, str) else list(text)
        chosen, delivery = self.sampling(**sampling), Delivery(speed, pause)
        read = [
            passages.read(self, text, f"text {number}", language, ref_text, chosen, normalize)
            for number, text in enumerate(texts, 1)
        ]
        prompt = self.get_prompt(listed(ref), text=ref_text, sample_rate=ref_rate)
        wavs: list[list[Tensor]] = [[] for _ in texts]
        for part in passages.say(self, read, prompt, chosen, delivery, language, seed):
            wavs[part.passage].append(part.wav)
        joined = [torch.cat(parts) for parts in wavs]
        return joined[0] if isinstance(text, str) else joined

    def stream(
        self,
        text: str,
        ref: Speech | Iterable[Speech],
        language: str | None = None,
        seed: int = 0,
        ref_text: str | None = None,
        ref_rate: int | None = None,
        block: float = BLOCK,
        lookahead: float | None = LOOKAHEAD,
        context: float | None = None,
        pause: float = 1.0,
        normalize: bool = True,
        **sampling: Any,
    ) -> Iterator[Tensor]:
        """The waveform of a text in chunks (T,), each as soon as it can be spoken; otherwise as a call of the model.

        `block`, `lookahead` and `context` in seconds are those of `chunks`. A long text is said piece by piece, with
        `pause` times the usual pauses (see `spoken_stream.say`).
        """
        chosen = self.sampling_of_stream(**sampling)
        read = passages.read(self, text, language=language, ref_text=ref_text, sampling=chosen, normalize=normalize)
        prompt = self.get_prompt(listed(ref), text=ref_text, sample_rate=ref_rate)
        found = spoken_stream.say(
            self, read, prompt, chosen, language, seed, block=block, lookahead=lookahead, context=context, pause=pause
        )
        return (chunk.wav for chunk in found)

    def sampling_of_stream(self, **given: Any) -> Sampling:
        """`sampling` without what a stream cannot do (`spoken_stream.WHOLE`), where it is not given but the model's."""
        return self.sampling(**WHOLE | given)

    def sampling(self, **given: Any) -> Sampling:
        """`Sampling` of these fields; the others are the model's own. Raises `UsageError` for a name that is none of
        them.
        """
        names = [f.name for f in dataclasses.fields(Sampling)]
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                remedy = f"did you mean {near[0]}?" if near else f"give some of {', '.join(names)}"
                raise UsageError(f"no such setting {name!r}", "sampling", remedy)
        return dataclasses.replace(self.default_sampling, **given)

    def read(
        self,
        texts: Sequence[str],
        language: str | None = None,
        names: Sequence[str] | None = None,
        ref_text: str | None = None,
        normalize: bool = True,
    ) -> list[list[int]]:
        """The ids of the symbols of each text: see `Reader.read`."""
        return self.reader.read(texts, language, names, ref_text, normalize)

    def normalise(self, text: str, language: str | None = None) -> Normalised:
        """A text in words: see `Reader.normalise`."""
        return self.reader.normalise(text, language)

    @full_precision()
    @torch.inference_mode()
    def get_prompt(
        self,
        references: Sequence[Speech],
        seconds: float | None = None,
        text: str | None = None,
        sample_rate: int | None = None,
    ) -> Prompt:
        """The voice of references, files or waveforms of `sample_rate` Hz (default: the model's).

        Together `seconds` of them are heard, each from where its speech begins, one after the other (see
        `pipelines.references.excerpts`); or all of them, where `text` is what they say.
        """
        self.reader.check_ref_text(text)
        if text is not None and seconds is not None:
            what = "references whose text is given are heard whole"
            raise UsageError(what, "--input-prompt-length", "leave it out, or give shorter references")
        if text is not None:
            found = whole(references, self.sample_rate, sample_rate)
        else:
            wanted = self.prompt_seconds if seconds is None else seconds
            found = excerpts(references, self.sample_rate, wanted, sample_rate)
        pieces = [self.codec.encode(excerpt.wav[None].to(self.device))[0] for excerpt in found]
        return Prompt(torch.cat(pieces, dim=1), found)

    @torch.inference_mode()
    def speak(
        self,
        texts: Sequence[Sequence[int]],
        prompt: Prompt,
        sampling: Sampling | None = None,
        language: str | None = None,
        seed: int = 0,
        batch_size: int = 8,
        amp: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> Iterator[Spoken]:
        """Say texts, as `read` gave them, in a voice; `batch_size` of them are decoded together.

        `amp`: compute in bfloat16 where that is safe. `on_step` is called with the number of frames of each batch.
        """
        for start in range(0, len(texts), batch_size):
            yield from self._batch(
                texts[start : start + batch_size],
                prompt,
                sampling or self.default_sampling,
                language,
                seed,
                amp,
                on_step,
            )

    def chunks(
        self,
        texts: Sequence[Sequence[int]],
        prompt: Prompt,
        sampling: Sampling | None = None,
        language: str | None = None,
        seed: int = 0,
        amp: bool = False,
        block: float = BLOCK,
        lookahead: float | None = LOOKAHEAD,
        context: float | None = None,
    ) -> Iterator[Chunk]:
        """Say texts as `speak` does, all decoded together, and give chunks of each as soon as they can be spoken.

        The codebooks after the first are predicted a `block` of seconds at a time, once the first codebook is there for
        the block and the `lookahead` behind it; the model sees that, and the `context` before the block. None: all
        there is. See `SpokenStream` for what equals what `speak` says.
        """
        stream = SpokenStream(
            self.lm,
            self.codec,
            self.condition(texts, prompt, language),
            sampling or self.sampling_of_stream(),
            torch.full((len(texts),), seed, device=self.device),
            windows(block, lookahead, context, self.codec.frame_rate),
            lambda: self._computing(len(texts), amp),
        )
        return iter(stream)

    @contextmanager
    def _computing(self, count: int, amp: bool) -> Iterator[None]:
        """Compute with `count` texts together, in bfloat16 where that is safe (`amp`)."""
        precision = torch.autocast(self.device.type, torch.bfloat16) if amp else nullcontext()
        what = f"out of memory with {count} texts together"
        with memory_told("lower --batch-size or --max-ar-steps", self.device, what), precision:
            yield

    def _batch(
        self,
        texts: Sequence[Sequence[int]],
        prompt: Prompt,
        sampling: Sampling,
        language: str | None,
        seed: int,
        amp: bool,
        on_step: Callable[[int], None] | None,
    ) -> list[Spoken]:
        condition = self.condition(texts, prompt, language)
        # The same seed for all rows: a text sounds alike in any place.
        seeds = torch.full((len(texts),), seed, device=self.device)
        began = time.perf_counter()
        with self._computing(len(texts), amp):
            response = self.lm.generate(condition, sampling, seeds=seeds, on_step=on_step)
            lengths = response.lengths.tolist()  # waits for the device
        rate = sum(lengths) * response.codes.shape[1] / (time.perf_counter() - began)
        passes = [0] * len(lengths) if response.passes is None else response.passes.tolist()
        found = []
        rows = zip(response.codes, lengths, response.stopped.tolist(), passes, strict=True)
        for codes, length, stopped, passed in rows:
            # A row at a time: a codec's frames may depend on the padding beside them.
            with self._computing(len(texts), amp=False), full_precision():
                wav = self.codec.decode(codes[None, :, :length])[0].float().cpu()
            seconds = len(wav) / self.sample_rate
            found.append(Spoken(wav, codes[:, :length].cpu(), stopped, seconds, rate, passed))
        return found

    def condition(self, texts: Sequence[Sequence[int]], prompt: Prompt, language: str | None = None) -> Condition:
        """What the model is given for texts, as `read` gave them, and a voice."""
        rows, device = len(texts), self.device
        padded = nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in texts], batch_first=True)
        return Condition(
            padded.to(device),
            torch.tensor([len(ids) for ids in texts], device=device),
            prompt.codes.to(device).expand(rows, -1, -1),
            torch.full((rows,), prompt.codes.shape[1], device=device),
            torch.full((rows,), self.reader.language(language)[0], device=device) if self.lm.languages else None,
        )
