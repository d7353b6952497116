"""Conversion, on real speech with the built-in encoder and a small vocoder."""

from __future__ import annotations

import pytest
import torch

from vocolab import audio
from vocolab.encoders import Whisper
from vocolab.errors import UsageError, VocolabError
from vocolab.matching import knn
from vocolab.pipelines import KNNVC
from vocolab.vocoders import Vocos


@pytest.fixture(scope="module")
def vc() -> KNNVC:
    torch.manual_seed(0)
    return KNNVC(Vocos(384, dim=16, blocks=1, hidden=16), Whisper())


@pytest.fixture(scope="module")
def files(speech_folder):
    return sorted(speech_folder.rglob("*.opus"))


def test_the_steps_fit_together(vc, files):
    query = vc.get_features(files[0])
    assert query.shape == (vc.encoder.frames(len(audio.read(files[0], 16000)[0])), 384)
    reference = vc.get_matching_set(files[4:6], vad_trigger_level=0)
    wav = vc.match(query, reference, topk=4, tgt_loudness_db=-20)
    assert wav.shape == (len(query) * 320,)
    assert audio.loudness(wav, 16000) == pytest.approx(-20, abs=0.1)


def test_converting_to_oneself_is_resynthesis(vc, files):
    """With k = 1 and the utterance as its own reference, every frame finds itself."""
    query = vc.get_features(files[0])
    wav = vc.match(query, query, topk=1, tgt_loudness_db=None)
    assert torch.allclose(wav, vc.vocode(query[None])[0], atol=1e-6)


def test_another_set_is_spoken_than_is_compared(vc, files):
    query, pool = vc.get_features(files[0])[:20], vc.get_features(files[4])
    other = torch.randn(len(pool), 384)
    wav = vc.match(query, pool, other, topk=3, tgt_loudness_db=None)
    expected = vc.vocode(other[knn(query, pool, 3)].mean(1)[None])[0]
    assert torch.allclose(wav, expected, atol=1e-5)


def test_duration_is_stretched(vc, files):
    query = vc.get_features(files[0])
    wav = vc.match(query, vc.get_features(files[4]), target_duration=2.5)
    assert len(wav) == 2.5 * 16000
    with pytest.raises(UsageError, match="duration"):
        vc.match(query, query, target_duration=0)


def test_trimming_takes_the_silence_around_speech(vc, files):
    wav, rate = audio.read(files[0], 16000)
    padded = torch.cat([torch.zeros(rate), wav, torch.zeros(rate)])
    trimmed = vc.get_matching_set([padded], vad_trigger_level=7)
    assert len(trimmed) < vc.encoder.frames(len(padded)) - 60


def test_files_of_any_kind(vc, tmp_path, files):
    """Stereo at 44.1 kHz gives the features of the same speech at 16 kHz mono, nearly."""
    import soundfile

    wav, rate = audio.read(files[0], 16000)
    high = audio.resample(wav, rate, 44100)
    soundfile.write(tmp_path / "stereo.flac", torch.stack([high, high], 1).numpy(), 44100)
    ours, original = vc.get_features(tmp_path / "stereo.flac"), vc.get_features(files[0])
    similarity = torch.cosine_similarity(ours[: len(original)], original[: len(ours)]).mean()
    assert similarity > 0.98


def test_silence_stays_silence(vc):
    query = vc.get_features(torch.zeros(16000))
    assert torch.isfinite(vc.match(query, query)).all()


@pytest.mark.parametrize(("k", "message"), [(0, "0"), (10_000, "10000")])
def test_impossible_k(vc, files, k, message):
    query = vc.get_features(files[0])
    with pytest.raises(VocolabError, match=message):
        vc.match(query, query, topk=k)


def test_too_little_speech(vc, files):
    with pytest.raises(VocolabError, match="at least 0.025 s"):
        vc.get_features(torch.zeros(100))
    with pytest.raises(VocolabError, match="no reference"):
        vc.get_matching_set([])


def test_without_an_encoder_given_features_work(files):
    vc = KNNVC(Vocos(384, dim=16, blocks=1, hidden=16))
    feats = torch.randn(30, 384)
    assert vc.match(feats, feats, topk=4).shape == (30 * 320,)
    with pytest.raises(UsageError, match="encoder"):
        vc.get_features(files[0])
    with pytest.raises(VocolabError, match="width 80"):
        vc.vocode(torch.randn(1, 5, 80))
