"""The converter in the package, on speech that it did not hear in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vocolab import audio
from vocolab.audio import log_mel
from vocolab.cli import main
from vocolab.data.corpora import BuiltinSpeech
from vocolab.metrics import stoi
from vocolab.pipelines import KNNVC
from vocolab.pipelines.knnvc import BUILT_IN


@pytest.fixture(scope="module")
def vc() -> KNNVC:
    return KNNVC.pretrained()


@pytest.fixture(scope="module")
def held_out() -> dict[str, Path]:
    return {utterance.key: utterance.path for utterance in BuiltinSpeech().splits()["val"]}


def energy(wav: torch.Tensor) -> torch.Tensor:
    """Mean log-mel (L,) of each frame."""
    return log_mel(wav).mean(-2)


def timbre(wav: torch.Tensor) -> torch.Tensor:
    """Mean log-mel (80,) of the louder half of the frames, less its own mean."""
    mel = log_mel(wav)
    loud = mel[:, mel.mean(0) > mel.mean(0).median()].mean(1)
    return loud - loud.mean()


def test_it_is_small_and_says_how_it_is_used(vc):
    assert BUILT_IN.stat().st_size <= 15e6
    assert (vc.sample_rate, vc.vocoder.hop, vc.topk, vc.encoder.layer) == (16000, 320, 4, 2)


@pytest.mark.parametrize("key", ["3002-10-0002", "3009-10-0016", "1002-30-0042", "1004-50-0006"])
def test_speech_that_it_never_heard_stays_intelligible(vc, held_out, key):
    real = audio.read(held_out[key], 16000)[0]
    fake = vc.vocode(vc.get_features(held_out[key])[None])[0]
    assert stoi(fake, real[: len(fake)], 16000) > 0.8  # a vocoder that was not trained: below 0.2


def test_the_words_stay_and_the_voice_goes_over(held_out, tmp_path, capsys):
    """Without a checkpoint the command takes the converter in the package."""
    source, reference = held_out["3001-10-0000"], BuiltinSpeech(speakers=["3002"]).splits()["train"]
    paths = [str(utterance.path) for utterance in reference]
    assert main(["convert", str(source), "--ref", *paths, "-o", str(tmp_path / "o.wav"), "--device", "cpu"]) == 0
    wav = audio.read(tmp_path / "o.wav", 16000)[0]
    real, target = audio.read(source, 16000)[0], torch.cat([audio.read(path, 16000)[0] for path in paths])
    assert abs(len(wav) - len(real)) < 640
    shared = min(len(energy(wav)), len(energy(real)))
    assert torch.corrcoef(torch.stack([energy(wav)[:shared], energy(real)[:shared]]))[0, 1] > 0.8
    to_target, to_source = ((timbre(wav) - timbre(other)).square().mean() for other in (target, real))
    assert to_target < 0.2 * to_source
