"""Mel-cepstral distance."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from vocolab.extras import required
from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured
from vocolab.metrics.spectral import TOO_SHORT

SHORTEST = 0.04  # s: a window of 32 ms and a hop of 8 ms


class MCD(Metric):
    """Mel-cepstral distance of speech that is brought into step with the reference by dynamic time warping."""

    name, title, unit, better = "mcd", "mel-cepstral distance, after time warping", "", "down"
    source = "Kubichek 1993; defaults of the package mel-cepstral-distance (20 bands, coefficients 1 to 16, factor 1)"

    def load(self) -> None:
        with required("mel_cepstral_distance", self.name):
            import mel_cepstral_distance  # noqa: F401
        # It warns once a file that a window of 32 ms is no power of two, as at 24 kHz, which costs a little time.
        logging.getLogger("mel_cepstral_distance").setLevel(logging.ERROR)

    def measure(self, heard: Heard) -> Numbers:
        from mel_cepstral_distance import compare_audio_files
        from scipy.io import wavfile

        wav, reference = heard.wav, heard.reference_at(heard.rate)
        if min(len(wav), len(reference)) < SHORTEST * heard.rate:
            raise Unmeasured(TOO_SHORT)
        if not wav.any():
            raise Unmeasured("nothing but silence")
        with tempfile.TemporaryDirectory(prefix="vocolab-mcd-") as folder:  # the package reads files
            paths = [Path(folder) / name for name in ("reference.wav", "speech.wav")]
            for path, samples in zip(paths, (reference, wav), strict=True):
                wavfile.write(path, heard.rate, samples.numpy())
            distance, _ = compare_audio_files(*paths)
        return float(distance), 1.0
