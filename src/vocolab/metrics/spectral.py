"""Distances of spectra."""

from __future__ import annotations

import torch
from torch import Tensor

from vocolab import audio
from vocolab.errors import VocolabError
from vocolab.metrics.base import Heard, Metric, Numbers, Unmeasured


def mel_distance(mel: Tensor, reference: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mean absolute difference of log-mels (B, C, L) over the first lengths[b] frames of each row b, and how many
    frames those are together.
    """
    frames = min(mel.shape[-1], reference.shape[-1])
    distance = (mel[..., :frames] - reference[..., :frames]).abs().mean(1)  # (B, L)
    mask = torch.arange(frames, device=mel.device) < lengths[:, None]
    count = mask.sum()
    return (distance * mask).sum() / count, count


class MelL1(Metric):
    """The mean absolute difference of log-mels, as in training's `val/mel_l1`."""

    name, title, unit, better = "mel_l1", "difference of log-mel spectra", "nepers", "down"
    source = "Kong et al. 2020 (HiFi-GAN), section 2.3, mel-spectrogram loss"

    def measure(self, heard: Heard) -> Numbers:
        wav, reference = heard.aligned(heard.rate)
        try:
            mel, real = (audio.log_mel(w, heard.rate)[None] for w in (wav, reference))
        except VocolabError as error:
            raise Unmeasured(TOO_SHORT) from error
        return float(mel_distance(mel, real, torch.tensor([mel.shape[-1]]))[0]), 1.0


TOO_SHORT = "shorter than the metric's window"


class MultiResolutionSTFT(Metric):
    """Spectral convergence and the distance of log-magnitudes, each the mean of three resolutions, added up."""

    name, title, unit, better = "mrstft", "multi-resolution distance of spectra", "", "down"
    source = "Yamamoto et al. 2020 (Parallel WaveGAN), section 2.2"

    def measure(self, heard: Heard) -> Numbers:
        wav, reference = heard.aligned(heard.rate)
        if len(wav) < max(n_fft for n_fft, _, _ in RESOLUTIONS):
            raise Unmeasured(TOO_SHORT)
        return sum(_distance(wav, reference, *sizes) for sizes in RESOLUTIONS) / len(RESOLUTIONS), 1.0


RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # table 1: transform, hop and window in samples


def _distance(wav: Tensor, reference: Tensor, n_fft: int, hop: int, window: int) -> float:
    shape = torch.hann_window(window)
    ours, theirs = (
        torch.stft(w, n_fft, hop, window, shape, return_complex=True).abs().clamp(min=1e-4) for w in (wav, reference)
    )
    convergence = (theirs - ours).norm() / theirs.norm()
    return float(convergence + (theirs.log() - ours.log()).abs().mean())
