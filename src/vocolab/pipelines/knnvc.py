"""Voice conversion by nearest neighbours (Baas, van Niekerk & Kamper 2023, "Voice Conversion With Just Nearest
Neighbors").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vocolab import audio
from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError, VocolabError
from vocolab.imports import import_parts
from vocolab.matching import average, knn
from vocolab.parts import build, check_imported
from vocolab.precision import full_precision
from vocolab.vocoders.base import Vocoder


@dataclass
class Voice:
    """Frames of a target speaker: what is compared, and what is spoken. One tensor twice where the layers agree."""

    matching: Tensor  # (N, C)
    synthesis: Tensor  # (N, C)


class KNNVC(nn.Module):
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
        own = encoder if isinstance(encoder, Encoder) else _encoder(loaded.meta.get("encoder"), encoder)
        return cls(
            loaded.vocoder.fold(),  # norms are for training
            own,
            matching.get("topk", 4) if topk is None else topk,
            matching.get("matching_layer") if matching_layer is None else matching_layer,
            matching.get("synthesis_layer") if synthesis_layer is None else synthesis_layer,
        ).to(device)

    @property
    def sample_rate(self) -> int:
        """Hz of the speech that comes out."""
        return self.vocoder.sample_rate

    @property
    def device(self) -> torch.device:
        return next(self.vocoder.parameters()).device

    def get_features(self, speech: str | Path | Tensor, vad_trigger_level: float = 0) -> Tensor:
        """Matching-layer features (L, C) of a file, or of a waveform (T,) at the encoder's rate. Voice activity
        trimming is off at 0.
        """
        return self._encode(speech, vad_trigger_level, [self.matching_layer])[0]

    def get_matching_set(self, speech: Iterable[str | Path | Tensor], vad_trigger_level: float = 7) -> Tensor:
        """Matching-layer features (N, C) of several files or waveforms, joined."""
        return self.get_voice(speech, vad_trigger_level).matching

    def get_voice(self, speech: Iterable[str | Path | Tensor], vad_trigger_level: float = 7) -> Voice:
        """Both layers' features of a target speaker, for `match(query, voice.matching, voice.synthesis)`."""
        encoded = [
            self._encode(item, vad_trigger_level, [self.matching_layer, self.synthesis_layer]) for item in speech
        ]
        if not encoded:
            raise VocolabError("no reference speech", "--ref", "name at least one file")
        matching = torch.cat([pair[0] for pair in encoded])
        same = self.matching_layer == self.synthesis_layer
        return Voice(matching, matching if same else torch.cat([pair[1] for pair in encoded]))

    @full_precision()
    @torch.inference_mode()
    def _encode(self, speech: str | Path | Tensor, vad_trigger_level: float, layers: list[int | None]) -> list[Tensor]:
        if self.encoder is None:
            raise UsageError(
                "the checkpoint names no encoder", "get_features", "pass encoder=, or --encoder on the command line"
            )
        rate = self.encoder.sample_rate
        wav, where = (speech, "waveform") if isinstance(speech, Tensor) else (audio.read(speech, rate)[0], speech)
        if vad_trigger_level:
            wav = audio.trim_silence(wav, rate, vad_trigger_level)
        if len(wav) < self.encoder.min_samples:
            limit = self.encoder.min_samples / rate
            after = " after trimming" if vad_trigger_level else ""
            raise VocolabError(
                f"{len(wav) / rate:.3f} s of speech{after}, at least {limit:.3f} s are needed",
                where,
                "give longer speech",
            )
        self.encoder.load(layers).to(self.device)
        return self.encoder.encode_long(wav.to(self.device), layers)

    @torch.inference_mode()
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
        of the result in LKFS (ITU-R BS.1770), None leaves it; silence stays silence. `target_duration` in seconds
        stretches the query linearly.
        """
        device = device or self.device
        query, pool = query_seq.to(device).float(), matching_set.to(device).float()
        if target_duration is not None:
            query = _stretch(query, self._frames(target_duration))
        with full_precision():
            indices = knn(query, pool, self.topk if topk is None else topk)
            feats = average(pool if synth_set is None else synth_set.to(device).float(), indices)
        wav = self.vocode(feats[None])[0].cpu()
        return wav if tgt_loudness_db is None else audio.normalize_loudness(wav, self.sample_rate, tgt_loudness_db)

    def _frames(self, duration: float) -> int:
        if not duration > 0:
            raise UsageError(f"target duration is {duration} s", "--target-duration", "give a duration above 0 s")
        return max(1, round(duration * self.sample_rate / self.vocoder.hop))

    @torch.inference_mode()
    def vocode(self, c: Tensor) -> Tensor:
        """Features (B, L, C) to waveforms (B, L·hop), in chunks of bounded memory that equal the whole."""
        if c.shape[-1] != self.vocoder.in_channels:
            raise VocolabError(
                f"features of width {c.shape[-1]}, the vocoder takes {self.vocoder.in_channels}",
                "vocode",
                "use the encoder it was trained with",
            )
        return self.vocoder.chunked(c.to(self.device))


def _encoder(described: dict | None, checkpoint: str | Path | None) -> Encoder | None:
    """The encoder a checkpoint describes, with its weights read from elsewhere if told so."""
    from vocolab.encoders import WavLM

    if described is None:
        return (
            None if checkpoint is None else WavLM(checkpoint=str(checkpoint))
        )  # official vocoders take WavLM features
    if checkpoint is not None:
        described = {**described, "init_args": {**described["init_args"], "checkpoint": str(checkpoint)}}
    return build(described, Encoder)


def _stretch(query: Tensor, frames: int) -> Tensor:
    """Features (L, C) interpolated linearly to (frames, C)."""
    stretched = nn.functional.interpolate(query.T[None], size=frames, mode="linear", align_corners=False)
    return stretched[0].T
