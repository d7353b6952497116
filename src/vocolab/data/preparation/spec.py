"""What decides the content of shards: corpus, encoder or codec, prematching, text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vocolab.codecs.base import Codec
from vocolab.data.corpora import Corpus
from vocolab.data.shards.identity import FORMAT, default_folder, spec_hash
from vocolab.encoders.base import Encoder
from vocolab.errors import UsageError
from vocolab.parts import describe
from vocolab.text import Text

DECODING = ("vocoder", "decoder")  # arguments of codecs that decide how codes sound, but not the codes


@dataclass
class Prematch:
    """Replace each frame by the mean of its nearest in the same speaker's other utterances (Baas et al. 2023, 3.2).

    A training utterance is matched with the training split alone, a held-out one also with its own split: so nothing
    that is held out enters training.
    """

    topk: int = 4
    pool: Literal["speaker", "chapter"] = "speaker"
    matching_layer: int | None = None  # the layer that decides who is near; default the encoder's
    synthesis_layer: int | None = None  # the layer that is averaged and stored; default the encoder's
    max_pool_frames: int | None = None  # of a larger pool, so many frames are chosen by a seed

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise UsageError(f"prematch.topk is {self.topk}", "", "set it to 1 or more; 4 is usual")
        if self.pool not in ("speaker", "chapter"):
            raise UsageError(f"prematch.pool is {self.pool!r}", "", "set it to speaker or chapter")
        if self.max_pool_frames is not None and self.max_pool_frames < self.topk:
            raise UsageError(f"prematch.max_pool_frames is {self.max_pool_frames}", "", f"at least topk ({self.topk})")


@dataclass
class Preparation:
    """All that decides the shards' bytes. `device` changes only the rounding."""

    corpus: Corpus
    encoder: Encoder | None = None  # None: the shards hold audio alone
    prematch: Prematch | None = None
    sample_rate: int | None = None  # Hz, of the audio; default the encoder's or the codec's, or 16000
    shard_mb: float = 512.0
    seed: int = 0
    device: str = "auto"  # auto: a GPU if there is one
    codec: Codec | None = None  # fitted on the training split where it must be
    text: Text | None = None  # None: the transcripts are kept as they are, and may be missing
    features_dir: str | Path | None = None  # features that the encoder made before, instead of running it
    num_shards: int | None = None  # so many shards a split, instead of shards of `shard_mb`

    def __post_init__(self) -> None:
        if self.prematch is not None and self.encoder is None:
            raise UsageError("prematch needs an encoder", "", "set --data.encoder or leave out --data.prematch")
        if self.features_dir is not None:
            self._check_features_dir()
        if self.num_shards is not None and self.num_shards < 1:
            raise UsageError(f"num_shards is {self.num_shards}", "", "set it to 1 or more, or leave it out")
        if self.shard_mb <= 0:
            raise UsageError(f"shard_mb is {self.shard_mb}", "", "set it above 0; 512 is usual")
        if self.encoder is not None and self.codec is not None:
            remedy = "leave one of them out; another recipe can prepare shards with the other"
            raise UsageError("shards hold the frames of an encoder or of a codec, not of both", "data", remedy)
        if self.codec is not None and self.codec.size > 2**15:
            raise UsageError(f"{self.codec.size} codes a codebook", "data.codec", "shards hold int16: at most 32768")
        part = self.framing
        if part is not None and self.rate * part.hop % part.sample_rate:
            step = part.sample_rate // math.gcd(part.hop, part.sample_rate)
            below = self.rate // step * step
            what = f"a frame of {part.hop} samples at {part.sample_rate} Hz"
            what += f" would be {self.rate * part.hop / part.sample_rate:g} samples at {self.rate} Hz"
            near = f"{below} or {below + step}" if below else f"{step}"
            raise UsageError(what, "data.sample_rate", f"set it to a multiple of {step}, as {near}")

    def _check_features_dir(self) -> None:
        if self.encoder is None:
            remedy = "set --data.encoder to the one that made them: it says how wide they are, and converts later"
            raise UsageError("features_dir without an encoder", str(self.features_dir), remedy)
        if self.prematch is not None:
            remedy = "set --data.prematch null: features from a folder are taken as they are, matched or not"
            raise UsageError("prematch with features_dir", str(self.features_dir), remedy)

    @property
    def framing(self) -> Encoder | Codec | None:
        """The encoder or codec, whose frames divide the audio; None without either."""
        return self.codec if self.encoder is None else self.encoder

    @property
    def rate(self) -> int:
        """Sample rate of the audio in the shards, in Hz."""
        return self.sample_rate or (16000 if self.framing is None else self.framing.sample_rate)

    @property
    def hop(self) -> int:
        """Samples of the audio in the shards for each frame; 1 without frames."""
        return 1 if self.framing is None else self.rate * self.framing.hop // self.framing.sample_rate

    @property
    def layers(self) -> tuple[int | None, int | None]:
        """The layer that is matched and the layer that is stored."""
        default = self.encoder.layer if self.encoder is not None else None
        if self.prematch is None:
            return default, default
        matching, synthesis = self.prematch.matching_layer, self.prematch.synthesis_layer
        return (default if matching is None else matching), (default if synthesis is None else synthesis)

    def spec(self) -> dict[str, Any]:
        """Everything that decides the numbers, as written into the manifest."""
        encoder = None if self.encoder is None else self._encoder_spec(self.encoder)
        prematch = None
        if self.prematch is not None:
            matching, synthesis = self.layers
            prematch = describe(self.prematch)["init_args"] | {"matching_layer": matching, "synthesis_layer": synthesis}
        spec = {
            "format": FORMAT,
            "corpus": self.corpus.spec(),
            "encoder": encoder,
            "prematch": prematch,
            "sample_rate": self.rate,
            "hop": self.hop,
            "shard_mb": float(self.shard_mb),
            "seed": self.seed,
        }
        # Left out where there is none: shards of features keep the hash they had before codecs and texts were known.
        spec |= {} if self.codec is None else {"codec": _codec_spec(self.codec)}
        spec |= {} if self.text is None else {"text": describe(self.text) | self.text.fingerprint()}
        if self.features_dir is not None:
            spec |= {"features_dir": str(Path(self.features_dir).expanduser().resolve())}
        return spec | ({} if self.num_shards is None else {"num_shards": self.num_shards})

    def _encoder_spec(self, encoder: Encoder) -> dict[str, Any]:
        """What decides the features. Where they come from a folder, no weights are read, and it matters not which."""
        if self.features_dir is None:
            return _with_fingerprints(encoder)
        described = describe(encoder)
        return described | {"init_args": {k: v for k, v in described["init_args"].items() if k != "checkpoint"}}

    @property
    def spec_hash(self) -> str:
        return spec_hash(self.spec())

    def default_folder(self) -> Path:
        """Where the shards go by default: `shards/HASH`."""
        return default_folder(self.spec())


def _codec_spec(codec: Codec) -> dict[str, Any]:
    """What decides the codes, the encoder within a codec included."""
    described = _with_fingerprints(codec)
    kept = {name: value for name, value in described["init_args"].items() if name not in DECODING}
    return described | {"init_args": kept}


def _with_fingerprints(part: Encoder | Codec) -> dict[str, Any]:
    """A part's description with its fingerprint, and those of encoders within it beside them."""
    described = describe(part)
    arguments = dict(described["init_args"])
    for name in arguments:
        if isinstance(inner := getattr(part, name), Encoder):
            arguments[name] = arguments[name] | inner.fingerprint()
    return described | {"init_args": arguments} | part.fingerprint()
