"""Voices, by an encoder that hears the mean of the samples, and by Resemblyzer."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from vocolab import audio
from vocolab.metrics import Heard, Unmeasured
from vocolab.metrics.voices import (
    EER,
    NearestVoice,
    Resemblyzer,
    Similarity,
    SimilarityMargin,
    SpeakerEncoder,
    VoicePrints,
    equal_error_rate,
)


class Mean(SpeakerEncoder):
    """A constant sound of level x is the direction at an angle of x radians."""

    sample_rate = 16000

    def embed(self, wav: torch.Tensor) -> np.ndarray:
        if not wav.any():
            raise Unmeasured("no voice is heard")
        return np.array([np.cos(wav.mean().item()), np.sin(wav.mean().item())])


def sound(level: float) -> torch.Tensor:
    return torch.full((8000,), level)


@pytest.fixture
def prints(tmp_path) -> VoicePrints:
    """Voices at 0.1, 0.3 and 0.7, each the mean of two recordings; the third recording of `a` is silent."""
    voices = {}
    for voice, level in (("a", 0.1), ("b", 0.3), ("c", 0.7)):
        voices[voice] = [tmp_path / f"{voice}{i}.wav" for i in range(3 if voice == "a" else 2)]
        for path, offset in zip(voices[voice], (-0.05, 0.05, -level), strict=False):
            soundfile.write(path, sound(level + offset).numpy(), 16000, subtype="FLOAT")
    return VoicePrints(Mean(), voices)


def test_likeness_to_a_voice_a_prompt_or_the_reference(prints):
    metric = Similarity(prints)
    assert metric.measure(Heard(sound(0.3), 16000, voice="c"))[0] == pytest.approx(np.cos(0.4), abs=1e-5)
    assert metric.measure(Heard(sound(0.3), 16000, sound(0.9)))[0] == pytest.approx(np.cos(0.6), abs=1e-5)
    prompted = Heard(sound(0.3), 16000, sound(0.9), prompt=sound(0.5))
    assert metric.measure(prompted)[0] == pytest.approx(np.cos(0.2), abs=1e-5)
    with pytest.raises(Unmeasured, match="there is no reference"):
        metric.measure(Heard(sound(0.3), 16000))


def test_a_conversion_that_went_half_way(prints):
    heard = Heard(sound(0.2), 16000, voice="c", source_voice="a")
    assert SimilarityMargin(prints).measure(heard)[0] == pytest.approx(np.cos(0.5) - np.cos(0.1), abs=1e-5)
    assert NearestVoice(prints).measure(heard)[0] == 0
    assert NearestVoice(prints).measure(Heard(sound(0.6), 16000, voice="c"))[0] == 1
    with pytest.raises(Unmeasured, match="no voice was converted"):
        SimilarityMargin(prints).measure(Heard(sound(0.2), 16000, voice="c"))
    with pytest.raises(Unmeasured, match="no voice is named"):
        EER(prints).measure(Heard(sound(0.2), 16000, sound(0.2)))


def test_the_equal_error_rate():
    targets, others = np.array([0.9, 0.8, 0.3, 0.7]), np.array([0.1, 0.2, 0.4, 0.6])
    assert equal_error_rate(targets, others) == 0.25
    assert equal_error_rate(targets + 1, others) == 0
    assert equal_error_rate(others, targets + 1) == 1
    generator = np.random.default_rng(0)
    same = equal_error_rate(generator.normal(1, 1, 20000), generator.normal(-1, 1, 20000))
    assert same == pytest.approx(0.1587, abs=0.005)  # the normal distribution beyond one deviation


def test_it_is_over_all_trials(prints):
    """`b` sounds like `a`: where no voice is missed, one of the six other trials passes."""
    metric = EER(prints)
    numbers = [metric.measure(Heard(sound(x), 16000, voice=v)) for x, v in ((0.1, "a"), (0.12, "b"), (0.7, "c"))]
    assert [len(row) for row in numbers] == [3, 3, 3]
    assert [metric.value(row) for row in numbers] == [0, 0.5, 0]
    assert metric.pool(np.array(numbers)) == pytest.approx((0 + 1 / 6) / 2)


@pytest.mark.slow
def test_resemblyzer_knows_voices(builtin_corpus):
    pytest.importorskip("resemblyzer")
    encoder = Resemblyzer()
    encoder.load()
    files = {v: sorted(builtin_corpus.glob(f"synth/{v}/*/*.opus"))[:3] for v in ("3001", "3002")}
    prints = VoicePrints(encoder, {voice: paths[:2] for voice, paths in files.items()})
    for voice, paths in files.items():
        heard = Heard(audio.read(paths[2], 24000)[0], 24000, voice=voice)
        assert Similarity(prints).measure(heard)[0] > 0.75 and NearestVoice(prints).measure(heard)[0] == 1
    with pytest.raises(Unmeasured, match="no voice is heard"):
        encoder.embed(torch.zeros(16000))
    assert len(encoder.about()["speaker_encoder_sha256"]) == 64
