"""Fundamental frequency: how near it is to the recording's, and where there is any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vocolab.extras import required
from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured
from vocolab.weights import sha256

RATE = 16000  # Hz
VOICED = 0.5  # of SwiftF0's confidence, which is calibrated so
SHORTEST = 0.2  # s


class PitchTracker:
    """The pitch of speech and of its reference, found once for all metrics of pitch (SwiftF0)."""

    def __init__(self) -> None:
        self._detector: Any = None
        self._last: tuple[Heard, tuple[np.ndarray, np.ndarray]] | None = None

    def load(self) -> None:
        with required("swift_f0", "pitch"):
            from swift_f0 import SwiftF0
        self._detector = self._detector or SwiftF0(threads=1)

    def about(self) -> dict[str, str]:
        import swift_f0

        return {"pitch": "swift_f0", "pitch_sha256": sha256(Path(swift_f0.__file__).parent / "model.onnx")}

    def both(self, heard: Heard) -> tuple[np.ndarray, np.ndarray]:
        """(2, L) of the speech and of the reference: the frequency in Hz, and the confidence that there is one."""
        if self._last is None or self._last[0] is not heard:
            self._last = (heard, self._both(heard))
        return self._last[1]

    def voiced(self, heard: Heard) -> tuple[np.ndarray, np.ndarray]:
        """log2 of the frequencies (N,) of the speech and of the reference, where both are voiced."""
        hz, confidence = self.both(heard)
        shared = (confidence >= VOICED).all(0)
        if shared.sum() < 2:
            raise Unmeasured("speech and reference are nowhere voiced together")
        ours, theirs = np.log2(hz[:, shared])
        return ours, theirs

    def _both(self, heard: Heard) -> tuple[np.ndarray, np.ndarray]:
        pair = heard.aligned(RATE)
        if len(pair[0]) < SHORTEST * RATE:
            raise Unmeasured("shorter than the metric's window")
        found = [self._detector.detect(wav.numpy(), RATE) for wav in pair]
        return np.stack([f.pitch_hz for f in found]), np.stack([f.confidence for f in found])


class PitchMetric(Metric):
    """A metric over a tracker of pitch, which several may share."""

    def __init__(self, tracker: PitchTracker):
        self.tracker = tracker

    def load(self) -> None:
        self.tracker.load()

    def about(self) -> dict[str, str]:
        return self.tracker.about()


class F0Error(PitchMetric):
    """The root mean square difference of log-F0, where both are voiced."""

    name, title, unit, better = "f0_rmse", "difference of pitch", "semitones", "down"
    source = "log-F0 RMSE as in Hayashi et al. 2021 (ESPnet2-TTS), section 4; F0 by SwiftF0 (Nieradzik 2025)"

    def measure(self, heard: Heard) -> Numbers:
        ours, theirs = self.tracker.voiced(heard)
        return float(12 * np.sqrt(np.mean((ours - theirs) ** 2))), 1.0


class F0Correlation(PitchMetric):
    """The correlation of log-F0, where both are voiced: whether the melody is the same, at whatever height."""

    name, title, unit, better = "f0_corr", "agreement of the melody", "-1 to 1", "up"
    source = "Pearson's correlation of log-F0; F0 by SwiftF0 (Nieradzik 2025)"

    def measure(self, heard: Heard) -> Numbers:
        ours, theirs = self.tracker.voiced(heard)
        if ours.std() == 0 or theirs.std() == 0:
            raise Unmeasured("the pitch never changes")
        return float(np.corrcoef(ours, theirs)[0, 1]), 1.0


class VoicingF1(PitchMetric):
    """F1 of the frames that are voiced, those of the reference being the right ones."""

    name, title, unit, better = "voicing_f1", "agreement on what is voiced", "0 to 1", "up"
    source = "Morrison et al. 2022 (CARGAN), section 4.1"

    def measure(self, heard: Heard) -> Numbers:
        ours, theirs = self.tracker.both(heard)[1] >= VOICED
        if not theirs.any():
            raise Unmeasured("nothing in the reference is voiced")
        return 2 * float((ours & theirs).sum()) / float(ours.sum() + theirs.sum()), 1.0


class Periodicity(PitchMetric):
    """The root mean square difference of periodicity, which a vocoder's hoarseness and buzzing change."""

    name, title, unit, better = "periodicity", "difference of periodicity", "0 to 1", "down"
    source = "Morrison et al. 2022 (CARGAN), section 4.1, with SwiftF0's confidence as the periodicity"

    def measure(self, heard: Heard) -> Numbers:
        ours, theirs = self.tracker.both(heard)[1]
        return float(np.sqrt(np.mean((ours - theirs) ** 2))), 1.0
