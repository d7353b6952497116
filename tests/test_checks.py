"""What encoders, codecs and vocoders say to what does not fit them: one line that names the fault and the part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.pipelines import tiny
from vocolab.codecs import EnCodec
from vocolab.encoders import Mel, WavLM, Whisper
from vocolab.errors import VocolabError
from vocolab.vocoders import HiFiGAN, Vocos

WAV = torch.zeros(2, 4000)
WAVEFORMS = {
    "one row": (WAV[0], None, r"shape \(4000,\).*\(B, T\)"),
    "channels": (WAV[None], None, r"shape \(1, 2, 4000\).*\(B, T\)"),
    "no tensor": (WAV.numpy(), None, "type ndarray"),
    "integers": (WAV.to(torch.int16), None, r"torch.int16.*floating-point samples in \[-1, 1\]"),
    "empty": (WAV[:, :0], None, "0 samples are too short.*at least"),
    "too short": (WAV[:, :39], None, "39 samples are too short.*at least"),
    "a short row": (WAV, torch.tensor([4000, 39]), "39 samples are too short.*at least"),
    "not a number": (WAV.index_fill(1, torch.tensor(7), torch.nan), None, "not finite"),
    "infinite": (WAV.index_fill(1, torch.tensor(7), -torch.inf), None, "not finite"),
    "too few lengths": (WAV, torch.tensor([4000]), r"lengths \[4000\].*give 2 lengths"),
    "too long lengths": (WAV, torch.tensor([4000, 4001]), "4001.*at most 4000"),
}
CODES = torch.zeros(1, 2, 5, dtype=torch.long)
ALL_CODES = {
    "one utterance": (CODES[0], r"shape \(2, 5\).*\(B, k, L\)"),
    "no tensor": (CODES.tolist(), "type list"),
    "no level": (CODES[:, :0], "1 to"),
    "too many levels": (CODES.repeat(1, 20, 1), r"shape \(1, 40, 5\).*1 to"),
    "no frame": (CODES[..., :0], "no frame"),
    "numbers": (CODES.float(), "torch.float32.*integers"),
    "below": (CODES - 1, "code -1.*0 to"),
    "beyond": (CODES + 1024, "code 1024.*0 to"),
}
FEATS = torch.zeros(1, 4, 16)
FEATURES = {
    "one utterance": (FEATS[0], r"shape \(4, 16\).*\(B, L, 16\)"),
    "no tensor": (np.zeros((1, 4, 16)), "type ndarray"),
    "other width": (FEATS[..., :15], r"shape \(1, 4, 15\)"),
    "no frame": (FEATS[:, :0], "no frame"),
    "integers": (FEATS.long(), "torch.int64"),
}


@pytest.fixture(scope="module")
def parts() -> dict:
    hifigan = HiFiGAN(16, None, 16, (4,), (8,), 2, (3,), ((1, 2),))
    codec = tiny.codec()
    return {p.__class__.__name__: p for p in (Mel(), Whisper(), WavLM(), EnCodec(), codec, hifigan, Vocos(16, 8, 1, 8))}


@pytest.mark.parametrize("fault", WAVEFORMS)
@pytest.mark.parametrize("name", ["Mel", "Whisper", "WavLM", "EnCodec", "KMeansCodec"])
def test_waveforms(parts, name, fault):
    wav, lengths, message = WAVEFORMS[fault]
    part = parts[name]
    with pytest.raises(VocolabError, match=message) as error:
        (part.encode if hasattr(part, "encode") else part)(wav, lengths)
    assert error.value.where == name and "\n" not in str(error.value)


@pytest.mark.parametrize("fault", ALL_CODES)
@pytest.mark.parametrize("name", ["EnCodec", "KMeansCodec"])
def test_codes(parts, name, fault):
    codes, message = ALL_CODES[fault]
    with pytest.raises(VocolabError, match=message) as error:
        parts[name].decode(codes)
    assert error.value.where == name


@pytest.mark.parametrize("fault", FEATURES)
@pytest.mark.parametrize("name", ["HiFiGAN", "Vocos"])
def test_features(parts, name, fault):
    feats, message = FEATURES[fault]
    for door in (parts[name], parts[name].chunked):
        with pytest.raises(VocolabError, match=message) as error:
            door(feats)
        assert error.value.where == name


@pytest.mark.parametrize("name", ["HiFiGAN", "Vocos"])
def test_features_that_are_not_finite(parts, name):
    with pytest.raises(VocolabError, match="not finite"):
        parts[name].chunked(FEATS.index_fill(1, torch.tensor(2), torch.nan))
