"""Guesses at what listeners would say: a standard that compares with a recording, and networks that need none."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import torch

from vocolab import _compat
from vocolab.extras import required
from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured
from vocolab.weights import sha256

RATE = 16000  # Hz, of all of them
MOS = "1 to 5"


class PESQ(Metric):
    """What listeners would say of the speech beside the recording, wide band."""

    name, title, unit, better = "pesq", "perceived quality beside the recording (PESQ)", "1 to 4.64", "up"
    source = "ITU-T P.862.2 (wide band); package pesq"

    def load(self) -> None:
        with required("pesq", self.name):
            import pesq  # noqa: F401

    def measure(self, heard: Heard) -> Numbers:
        from pesq import PesqError, pesq

        wav, reference = heard.aligned(RATE)
        if not wav.any():
            raise Unmeasured("nothing but silence")
        try:
            return float(pesq(RATE, reference.numpy(), wav.numpy(), "wb")), 1.0
        except PesqError as error:
            reason = error.args[0] if error.args else type(error).__name__
            told = reason.decode() if isinstance(reason, bytes) else str(reason)
            raise Unmeasured(f"PESQ: {told.rstrip('.!').lower()}") from error
        except ValueError as error:  # of speech so faint that nothing is left of it
            raise Unmeasured(f"PESQ: {error}") from error


class DNSMOS(Metric):
    """What listeners would say of the whole (ITU-T P.835), by a network that knows noisy calls."""

    name, title, unit, better = "dnsmos", "opinion that a network expects (DNSMOS, overall)", MOS, "up"
    source = "Reddy et al. 2022, DNSMOS P.835; package speechmos"

    def load(self) -> None:
        with required("speechmos", self.name):
            from speechmos import dnsmos  # noqa: F401

    def measure(self, heard: Heard) -> Numbers:
        from speechmos import dnsmos

        wav = heard.at(RATE)
        if not wav.any():
            raise Unmeasured("nothing but silence")
        return float(dnsmos.run(wav.clamp(-1, 1).numpy(), RATE, return_df=False)["ovrl_mos"]), 1.0

    def about(self) -> dict[str, str]:
        import speechmos

        weights = Path(next(iter(speechmos.__path__))) / "dnsmos_models" / "sig_bak_ovr.onnx"
        return {"dnsmos_sha256": sha256(weights)}


class DistillMOS(Metric):
    """What listeners would say of the speech, by a small network that learned from a large one."""

    name, title, unit, better = "distillmos", "opinion that a network expects (DistillMOS)", MOS, "up"
    source = (
        "Stahl & Gamper 2025, Distillation and Pruning for Scalable Self-Supervised ... Quality; package distillmos"
    )

    def __init__(self, device: str = "cpu"):
        self.device = device
        self._model: Any = None

    def load(self) -> None:
        _compat.torchaudio()  # the package imports it
        with required("distillmos", self.name):
            import distillmos
        if self._model is None:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints the path of its weights
                self._model = distillmos.ConvTransformerSQAModel().to(self.device).eval()

    @torch.inference_mode()
    def measure(self, heard: Heard) -> Numbers:
        wav = heard.at(RATE)
        if not wav.any():
            raise Unmeasured("nothing but silence")
        return float(self._model(wav[None].to(self.device))), 1.0

    def about(self) -> dict[str, str]:
        from distillmos import sqa

        return {"distillmos_sha256": sha256(Path(sqa.DEFAULT_WEIGHTS_CHKPT))}
