"""Whose voice a speaker encoder hears."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vocolab import audio
from vocolab.errors import VocolabError
from vocolab.extras import required
from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured
from vocolab.weights import sha256

RECORDINGS = 20  # of a voice: more change its mean little


class SpeakerEncoder(ABC):
    """A network that makes a vector of a voice."""

    sample_rate: int  # Hz

    def load(self) -> None:  # noqa: B027 (a network of one's own may have nothing to load)
        """Import and read what is needed. Raises `VocolabError` where a package or a file is missing."""

    @abstractmethod
    def embed(self, wav: Tensor) -> np.ndarray:
        """The vector (D,), of unit length, of speech (T,). Raises `Unmeasured` where no voice is heard."""

    def about(self) -> dict[str, str]:
        return {"speaker_encoder": f"{type(self).__module__}.{type(self).__qualname__}"}


class Resemblyzer(SpeakerEncoder):
    """GE2E (Wan et al. 2018) by the package resemblyzer, which brings its weights."""

    sample_rate = 16000

    def __init__(self, device: str = "cpu"):
        self.device = device
        self._network: Any = None

    def load(self) -> None:
        with required("resemblyzer", "the speaker encoder"):
            from resemblyzer import VoiceEncoder
        if self._network is None:
            self._network = VoiceEncoder(self.device, verbose=False)

    def embed(self, wav: Tensor) -> np.ndarray:
        from resemblyzer import preprocess_wav

        if not wav.any():
            raise Unmeasured("no voice is heard")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            trimmed = preprocess_wav(wav.numpy(), source_sr=self.sample_rate)
        if not len(trimmed):
            raise Unmeasured("no voice is heard")
        found = self._network.embed_utterance(trimmed)
        if not np.isfinite(found).all():
            raise Unmeasured("no voice is heard")
        return found

    def about(self) -> dict[str, str]:
        import resemblyzer

        weights = Path(resemblyzer.__file__).parent / "pretrained.pt"
        return {"speaker_encoder": "resemblyzer", "speaker_encoder_sha256": sha256(weights)}


class VoicePrints:
    """What is known of voices: the mean vector of recordings of each."""

    def __init__(self, encoder: SpeakerEncoder, voices: Mapping[str, Sequence[Path]]):
        self.encoder, self.voices = encoder, voices
        self._last: tuple[Heard, np.ndarray] | None = None

    def load(self) -> None:
        self.encoder.load()

    @cached_property
    def prints(self) -> dict[str, np.ndarray]:
        """{voice: (D,), of unit length}, without voices that no recording lets hear."""
        found = {voice: self._print(paths) for voice, paths in self.voices.items()}
        return {voice: vector for voice, vector in found.items() if vector is not None}

    def of(self, heard: Heard) -> np.ndarray:
        """The vector (D,) of an utterance."""
        if self._last is None or self._last[0] is not heard:
            self._last = (heard, self.encoder.embed(heard.at(self.encoder.sample_rate)))
        return self._last[1]

    def wanted(self, heard: Heard) -> np.ndarray:
        """The vector (D,) of the voice that an utterance should have: of its voice, its prompt or its reference."""
        if heard.voice in self.prints:
            return self.prints[heard.voice]
        return self.encoder.embed(heard.likeness_at(self.encoder.sample_rate))

    def others(self, heard: Heard) -> list[np.ndarray]:
        """The vectors of all voices but that which an utterance should have."""
        if heard.voice not in self.prints:
            raise Unmeasured("no voice is named")
        if len(self.prints) < 2:
            raise Unmeasured("there is one voice alone")
        return [vector for voice, vector in self.prints.items() if voice != heard.voice]

    def _print(self, paths: Sequence[Path]) -> np.ndarray | None:
        vectors = []
        for path in paths[:RECORDINGS]:
            try:
                vectors.append(self.encoder.embed(audio.read(path, self.encoder.sample_rate)[0]))
            except (Unmeasured, VocolabError):  # silent or damaged: others tell the voice
                continue
        if not vectors:
            return None
        mean = np.mean(vectors, axis=0)
        return mean / np.linalg.norm(mean)


class VoiceMetric(Metric):
    """A metric over what is known of voices, which several may share."""

    def __init__(self, prints: VoicePrints):
        self.prints = prints

    def load(self) -> None:
        self.prints.load()

    def about(self) -> dict[str, str]:
        return self.prints.encoder.about()


class Similarity(VoiceMetric):
    """The cosine of the speech's vector and that of the voice it should have."""

    name, title, unit, better = "similarity", "likeness to the voice wanted", "cosine", "up"
    source = "cosine of speaker embeddings; Wan et al. 2018 (GE2E) by resemblyzer, unless another encoder is named"

    def measure(self, heard: Heard) -> Numbers:
        return float(self.prints.of(heard) @ self.prints.wanted(heard)), 1.0


class SimilarityMargin(VoiceMetric):
    """How much nearer converted speech is to the voice wanted than to the source's."""

    name, title, unit, better = (
        "similarity_margin",
        "likeness to the voice wanted, above that to the source",
        "cosine",
        "up",
    )
    source = "difference of two cosines of speaker embeddings"
    tasks = ("conversion",)

    def measure(self, heard: Heard) -> Numbers:
        if heard.source_voice not in self.prints.prints:
            raise Unmeasured("no voice was converted")
        ours = self.prints.of(heard)
        return float(ours @ self.prints.wanted(heard) - ours @ self.prints.prints[heard.source_voice]), 1.0


class NearestVoice(VoiceMetric):
    """Whether the voice wanted is the nearest of all that are known."""

    name, title, unit, better = "nearest_voice", "how often the voice wanted is the nearest", "0 to 1", "up"
    source = "closed-set speaker identification by the cosine of speaker embeddings"

    def measure(self, heard: Heard) -> Numbers:
        ours = self.prints.of(heard)
        best = max(float(ours @ other) for other in self.prints.others(heard))
        return float(float(ours @ self.prints.wanted(heard)) > best), 1.0


class EER(VoiceMetric):
    """The rate at which a verification that compares the speech with all known voices errs both ways alike."""

    name, title, unit, better = "eer", "confusion with other voices (equal error rate)", "0 to 1", "down"
    source = "equal error rate of speaker verification, the trials being each utterance with each known voice"

    def measure(self, heard: Heard) -> Numbers:
        """The score of the voice wanted, then those of the others."""
        ours = self.prints.of(heard)
        others = [float(ours @ other) for other in self.prints.others(heard)]
        return float(ours @ self.prints.wanted(heard)), *others

    def value(self, numbers: Numbers) -> float:
        """The share of other voices that are nearer."""
        return float(np.mean([other >= numbers[0] for other in numbers[1:]]))

    def pool(self, numbers: np.ndarray) -> float:
        others = numbers[:, 1:].ravel()
        return equal_error_rate(numbers[:, 0], others[np.isfinite(others)])


def equal_error_rate(targets: np.ndarray, others: np.ndarray) -> float:
    """Where as large a share of `targets` lies below a threshold as of `others` at or above it: the mean of the two at
    the threshold where they are nearest.
    """
    targets, others = np.sort(targets), np.sort(others)
    thresholds = np.concatenate([targets, others, [np.inf]])
    missed = np.searchsorted(targets, thresholds) / len(targets)
    passed = 1 - np.searchsorted(others, thresholds) / len(others)
    nearest = np.argmin(np.abs(missed - passed))
    return float((missed[nearest] + passed[nearest]) / 2)
