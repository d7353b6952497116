"""The spectrogram as an encoder, and the recipes' encoder files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import vocolab.encoders
from vocolab.audio import log_mel
from vocolab.encoders import Encoder, HuggingFace, Mel
from vocolab.errors import VocolabError
from vocolab.parts import build, describe

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "encoder").glob("*.yaml"))


def test_is_the_log_mel_spectrogram(utterances):
    for wav in utterances:
        torch.testing.assert_close(Mel()(wav[None])[0], log_mel(wav).T)


@pytest.mark.parametrize("tail", [0, 34, 130, 255])
@pytest.mark.parametrize("seconds", [0.3, 60.0])
def test_long_recordings_in_pieces_are_exact(monkeypatch, utterances, seconds, tail):
    """With any tail beyond the last whole frame, which the last windows reach into; in one piece too."""
    encoder = Mel(sample_rate=22050, hop=256, fmax=None)
    monkeypatch.setattr(encoder, "chunk_seconds", seconds)
    wav = torch.cat(utterances)
    wav = wav[: len(wav) // 256 * 256 - 256 + tail]
    torch.testing.assert_close(encoder.encode_long(wav)[0], encoder(wav[None])[0], atol=1e-5, rtol=0)


def test_it_has_no_layers_and_no_weights():
    encoder = Mel(n_mels=100, fmax=None)
    assert encoder.dim == 100 and encoder.layer is None and encoder.fingerprint() == {} and encoder.state_dict() == {}
    assert build(describe(encoder)).n_mels == 100
    with pytest.raises(VocolabError, match="no layers"):
        encoder.layers(torch.zeros(1, 4000), layers=[6])
    with pytest.raises(VocolabError, match="300 samples"):
        encoder(torch.zeros(1, 300))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_encoder_files_build(path):
    text = path.read_text()
    assert text.startswith("# ")
    slot = yaml.safe_load(text)
    cls = getattr(vocolab.encoders, slot["class_path"])  # the bare class name
    encoder = cls(**slot["init_args"])
    assert isinstance(encoder, Encoder)
    assert describe(encoder)["init_args"] == slot["init_args"]  # presets state all their arguments
    assert encoder.sample_rate == 16000
    if not isinstance(encoder, HuggingFace):  # its hop is in a file of the hub
        assert encoder.hop == 320


def test_all_encoder_files_are_seen():
    assert {path.stem for path in CONFIGS} >= {"mel", "wavlm_large", "whisper_tiny"}
