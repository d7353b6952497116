"""Voice conversion by nearest neighbours (Baas, van Niekerk & Kamper 2023, "Voice Conversion With Just Nearest
Neighbors").
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vocolab import audio
from vocolab.audio import Level, Speech
from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError, VocolabError
from vocolab.imports import import_parts
from vocolab.matching import average
from vocolab.parts import build, check_imported, describe
from vocolab.pipelines.layers import Weights, by_layer, weighted
from vocolab.pipelines.pretrained import Pretrained
from vocolab.pipelines.references import check_heard, listed
from vocolab.pipelines.stream import Stream
from vocolab.pipelines.voice import Gathering, Voice, as_features
from vocolab.precision import full_precision
from vocolab.vocoders import fast
from vocolab.vocoders.base import Vocoder

BUILT_IN = Path(__file__).parents[1] / "assets" / "converter.safetensors"
SILENT = -50.0  # LKFS: a vocoder's noise for digital silence lies near -60, its speech near -30 or above

logger = logging.getLogger(__name__)


class KNNVC(Pretrained, nn.Module):
    """Convert speech to the voice of a reference: each frame becomes the mean of its nearest reference frames, then
    speech again.

    `matching_layer` and `synthesis_layer` say which encoder layers are compared and averaged (None: the encoder's own
    layer).
    """

    def __init__(
        self,
        vocoder: Vocoder,
        encoder: Encoder | None = None,
        topk: int = 4,
        matching_layer: int | None = None,
        synthesis_layer: int | None = None,
    ):
        super().__init__()
        self.vocoder, self.encoder, self.topk = vocoder.eval(), encoder, topk
        own = None if encoder is None else encoder.layer
        self.matching_layer = own if matching_layer is None else matching_layer
        self.synthesis_layer = own if synthesis_layer is None else synthesis_layer

    @classmethod
    def pretrained(cls, device: str = "cpu", **arguments: Any) -> KNNVC:
        """The converter in the package: 16 kHz, any voice, nothing to download. `arguments` are those of
        `from_checkpoint`.
        """
        return cls.from_checkpoint(BUILT_IN, device=device, **arguments)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        encoder: Encoder | str | Path | None = None,
        device: str = "cpu",
        topk: int | None = None,
        matching_layer: int | None = None,
        synthesis_layer: int | None = None,
        imports: Sequence[str] = (),
    ) -> KNNVC:
        """Load a vocoder of this project or an official `g_*.pt`, with the encoder and the matching it was trained
        with.

        `encoder`: an `Encoder`, or a path or name to read the encoder's weights from instead of what the checkpoint
        says. An official file names no encoder: without one, `match` and `vocode` on given features work and
        `get_features` raises. `imports`: modules that hold parts of it outside vocolab.
        """
        from vocolab.checkpoints import load_vocoder

        import_parts(imports)
        loaded = load_vocoder(path)
        matching = loaded.meta.get("matching") or {}
        if not isinstance(encoder, Encoder):
            check_imported(loaded.meta.get("encoder"), path)
        own = encoder if isinstance(encoder, Encoder) else _build_encoder(loaded.meta.get("encoder"), encoder)
        card = {**loaded.meta, "vocoder": describe(loaded.vocoder)}
        vc = cls(
            fast.prepare(loaded.vocoder.fold()),  # norms are for training
            own,
            matching.get("topk", 4) if topk is None else topk,
            matching.get("matching_layer") if matching_layer is None else matching_layer,
            matching.get("synthesis_layer") if synthesis_layer is None else synthesis_layer,
        )
        vc.card = card
        return vc.to(device)

    def _stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        from vocolab.checkpoints.official import unfolded

        assert self.card is not None
        layers = {"matching_layer": self.matching_layer, "synthesis_layer": self.synthesis_layer}
        encoder = self.card["encoder"] if self.encoder is None else describe(self.encoder)
        card = {**self.card, "matching": {"topk": self.topk, **layers}, "encoder": encoder}
        state = unfolded(self.vocoder.state_dict(), self.vocoder)
        return card, {f"vocoder.{key}": value for key, value in state.items()}

    @property
    def sample_rate(self) -> int:
        """Hz of the speech that comes out."""
        return self.vocoder.sample_rate

    @property
    def device(self) -> torch.device:
        return next(self.vocoder.parameters()).device

    @torch.inference_mode()
    def get_features(
        self,
        path: Speech,
        weights: Weights | None = None,
        vad_trigger_level: float = 0,
        sample_rate: int | None = None,
    ) -> Tensor:
        """Matching-layer features (L, C) of a file, or of a waveform (T,) or (1, T) of `sample_rate` Hz (default: the
        encoder's rate). Trimming by voice activity is off at 0.

        `weights` (layers,) or (layers, 1): add up the encoder's layers by these weights instead, the first of which is
        layer 0, the input of the first block. Layers of weight 0 are not computed beyond the deepest that counts.
        Raises `VocolabError` where the speech cannot be read, or is too short for a frame.
        """
        return self._features(self._load(path, sample_rate), _name(path), weights, vad_trigger_level)

    def _features(self, wav: Tensor, where: object, weights: Weights | None, vad_trigger_level: float) -> Tensor:
        layers = {self.matching_layer: 1.0} if weights is None else by_layer(weights, self._encoder())
        pieces = self._pieces(wav, where, vad_trigger_level, list(layers))
        return torch.cat([weighted(piece, list(layers.values())) for piece in pieces])

    def get_matching_set(
        self,
        wavs: Speech | Iterable[Speech],
        weights: Weights | None = None,
        vad_trigger_level: float = 7,
        sample_rate: int | None = None,
    ) -> Tensor:
        """Features (N, C) of files or waveforms, as those of `get_features`, joined. Raises `VocolabError` as
        `get_voice` does.
        """
        found = [
            self._features(self._load_reference(item, sample_rate), _name(item), weights, vad_trigger_level)
            for item in listed(wavs)
        ]
        if not found:
            raise VocolabError("no reference speech", "--ref", "name at least one file")
        return torch.cat(found)

    def get_voice(
        self,
        speech: Speech | Iterable[Speech],
        vad_trigger_level: float = 7,
        sample_rate: int | None = None,
        max_frames: int | None = None,
        seed: int = 0,
    ) -> Voice:
        """Both layers' features of a target speaker, for `convert`, or `match(query, voice.matching, voice.synthesis)`.
        Raises `VocolabError` for speech that cannot be read, is silent or too short.

        `speech`: one file or waveform, or several; waveforms are of `sample_rate` Hz (default: the encoder's rate). Of
        more than `max_frames` frames, so many are chosen at random by `seed`.
        """
        layers = list(dict.fromkeys([self.matching_layer, self.synthesis_layer]))
        gathering = Gathering(max_frames, seed)
        for item in listed(speech):
            wav = self._load_reference(item, sample_rate)
            for piece in self._pieces(wav, _name(item), vad_trigger_level, layers):
                gathering.add(piece)
        return gathering.voice()

    def _load(self, speech: Speech, sample_rate: int | None) -> Tensor:
        """Speech as a waveform (T,) at the encoder's rate."""
        return audio.load(speech, self._encoder().sample_rate, sample_rate)

    def _load_reference(self, speech: Speech, sample_rate: int | None) -> Tensor:
        """The same of a target speaker. Raises `VocolabError` for silence, which is nobody's voice."""
        wav = self._load(speech, sample_rate)
        check_heard(wav, _name(speech))
        return wav

    def _encoder(self) -> Encoder:
        if self.encoder is None:
            raise UsageError(
                "the checkpoint names no encoder", "get_features", "pass encoder=, or --encoder on the command line"
            )
        return self.encoder

    def _pieces(
        self, wav: Tensor, where: object, vad_trigger_level: float, layers: list[int | None]
    ) -> Iterator[list[Tensor]]:
        """Features (L, C) of each layer of wav (T,), a minute or less at a time; `where` names it in an error."""
        encoder = self._encoder()
        rate = encoder.sample_rate
        if vad_trigger_level:
            wav = audio.trim_silence(wav, rate, vad_trigger_level)
        if len(wav) < encoder.min_samples:
            limit = encoder.min_samples / rate
            after = " after trimming" if vad_trigger_level else ""
            raise VocolabError(
                f"{len(wav) / rate:.3f} s of speech{after}, at least {limit:.3f} s are needed",
                where,
                "give longer speech",
            )
        numbered = [layer for layer in layers if layer is not None] or None  # some encoders have no layers
        encoder.load(numbered).to(self.device)
        pieces = encoder.encode_pieces(wav.to(self.device), numbered)
        while True:
            with full_precision(), torch.inference_mode():
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    @torch.inference_mode()
    def convert(
        self,
        speech: Speech,
        voice: Voice,
        topk: int | None = None,
        loudness: float | None = -16.0,
        target_duration: float | None = None,
        sample_rate: int | None = None,
        silence: float | None = audio.SILENCE,
    ) -> Level:
        """Say speech, a file or a waveform, in another voice. The result holds `.wav` (T,) on the CPU, and `.gain` and
        `.note`, which tell how it was brought to `loudness`.

        `loudness` in LKFS (ITU-R BS.1770), None leaves it: one gain for the whole, which never clips, and silence for
        a silent source (see `audio.normalize_loudness`). `silence` in dB of full scale: long pauses of the source that
        are quieter become silent (see `audio.silences`); None leaves what the vocoder makes of them. The other
        arguments are those of `match` and `get_features`. Speech may be long: no more than a minute of its features is
        held, unless `target_duration` is given.
        """
        source, rate = self._load(speech, sample_rate), self._encoder().sample_rate
        pieces = (feats for (feats,) in self._pieces(source, _name(speech), 0, [self.matching_layer]))
        wav = self._speak(pieces, voice.to(self.device), topk, target_duration)
        if silence is not None:
            stretch = 1.0 if target_duration is None else target_duration * rate / len(source)
            wav = audio.gate(wav, self.sample_rate, audio.silences(source, rate, silence), stretch)
        if loudness is None:
            return Level(wav, 0.0, "")
        return audio.normalize_loudness(wav, self.sample_rate, loudness, source, rate)

    def stream(
        self,
        voice: Voice | Tensor,
        topk: int | None = None,
        context: float = 2.0,
        lookahead: float = 0.2,
        block: float = 0.2,
        loudness: float | None = -16.0,
        sample_rate: int | None = None,
    ) -> Stream:
        """Convert speech while it comes in: `feed(chunk)` returns what is ready, `end()` the rest. See `Stream`.
        `voice`: that of `get_voice`, or a matching set (N, C).

        Frames are encoded `block` seconds at a time, with `context` seconds before them and `lookahead` seconds after
        them: more of each is nearer to `convert`, which sees the whole. `loudness` in LKFS: the gain that brings the
        voice there, None for no gain; a stream cannot know how loud its source will be. `sample_rate`: that of the
        chunks (default: the encoder's).
        """
        encoder, topk = self._encoder(), self.topk if topk is None else topk
        return Stream(self, voice, encoder, topk, context, lookahead, block, loudness, sample_rate)

    def match(
        self,
        query_seq: Tensor,
        matching_set: Tensor,
        synth_set: Tensor | None = None,
        topk: int | None = None,
        tgt_loudness_db: float | None = -16,
        target_duration: float | None = None,
        device: str | None = None,
    ) -> Tensor:
        """Speak query features (L, C) with the frames of a matching set (N, C); returns a waveform (T,) on the CPU.

        `synth_set` (N, C'): frames to average instead of the matching set's, row for row. `tgt_loudness_db`: loudness
        of the result in LKFS (ITU-R BS.1770), None leaves it. The gain never clips; a warning is logged where that
        keeps it from its target. Features do not tell how loud their source was: what is below `SILENT` is taken for
        the noise that a vocoder makes of silence, and left as quiet as it is. `convert` knows the source.
        `target_duration` in seconds stretches the query linearly.
        """
        query = as_features(query_seq, "query_seq", 2)
        pool = as_features(matching_set, "matching_set", 2)
        spoken = pool if synth_set is None or synth_set is matching_set else as_features(synth_set, "synth_set", 2)
        place = device or self.device
        wav = self._speak([query.to(place)], Voice(pool, spoken).to(place), topk, target_duration)
        if tgt_loudness_db is None or audio.loudness(wav, self.sample_rate) < SILENT:
            return wav
        level = audio.normalize_loudness(wav, self.sample_rate, tgt_loudness_db)
        if level.note:
            logger.warning("loudness: %s", level.note)
        return level.wav

    @torch.inference_mode()
    def _speak(
        self, queries: Iterable[Tensor], voice: Voice, topk: int | None, target_duration: float | None
    ) -> Tensor:
        """Say an utterance, given as pieces of features (L, C), in a voice: (T,) on the CPU, its loudness unchanged."""
        if target_duration is not None:
            queries = [_stretch(torch.cat(list(queries)), self._frames(target_duration))]
        with full_precision():
            indices = torch.cat([voice.pool.knn(query, self.topk if topk is None else topk) for query in queries])
        self._check_width(voice.synthesis)
        chunks = []
        for seen, kept in self.vocoder.chunks(len(indices)):  # the same as `vocode` of all, in less memory
            feats = average(voice.synthesis, indices[seen])
            chunks.append(self.vocoder(feats[None].to(self.device))[0, kept].cpu())
        return torch.cat(chunks)

    def _frames(self, duration: float) -> int:
        if not duration > 0:
            raise UsageError(f"target duration is {duration} s", "--target-duration", "give a duration above 0 s")
        return max(1, round(duration * self.sample_rate / self.vocoder.hop))

    @torch.inference_mode()
    def vocode(self, c: Tensor) -> Tensor:
        """Features (B, L, C) to waveforms (B, L·hop), in chunks of bounded memory that equal the whole."""
        c = as_features(c, "vocode", 3)
        self._check_width(c)
        return self.vocoder.chunked(c.to(self.device))

    def _check_width(self, feats: Tensor) -> None:
        if feats.shape[-1] != self.vocoder.in_channels:
            raise VocolabError(
                f"features of width {feats.shape[-1]}, the vocoder takes {self.vocoder.in_channels}",
                "vocode",
                "use the encoder it was trained with",
            )


def _build_encoder(described: dict | None, checkpoint: str | Path | None) -> Encoder | None:
    """The encoder a checkpoint describes, with its weights read from elsewhere if told so."""
    from vocolab.encoders import WavLM

    if described is None:
        return (
            None if checkpoint is None else WavLM(checkpoint=str(checkpoint))
        )  # official vocoders take WavLM features
    if checkpoint is not None:
        described = {**described, "init_args": {**described["init_args"], "checkpoint": str(checkpoint)}}
    return build(described, Encoder)


def _name(speech: Speech) -> object:
    """What to call speech in an error."""
    return speech if isinstance(speech, (str, Path)) else "waveform"


def _stretch(query: Tensor, frames: int) -> Tensor:
    """Features (L, C) interpolated linearly to (frames, C)."""
    stretched = nn.functional.interpolate(query.T[None], size=frames, mode="linear", align_corners=False)
    return stretched[0].T
