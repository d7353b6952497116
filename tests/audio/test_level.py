"""Loudness as torchaudio measures it, and nothing unbounded where there is nothing to measure."""

from __future__ import annotations

import math

import pytest
import torch

from vocolab import _compat, audio
from vocolab.audio import level


@pytest.mark.parametrize("rate", [16000, 24000])
def test_loudness_is_torchaudios(speech_file, rate):
    wav, _ = audio.read(speech_file, rate)
    # Quiet enough that torchaudio's filters, which clip at ±1, do not; with a pause, so that the gates matter.
    wav = torch.cat([0.3 * wav[:rate], torch.zeros(rate), 0.02 * wav[rate : 2 * rate]])
    expected = _compat.torchaudio().functional.loudness(wav[None], rate).item()
    assert audio.loudness(wav, rate) == pytest.approx(expected, abs=1e-3)


def test_the_standards_own_reference():
    """BS.1770-4: a full-scale sine of 997 Hz in one channel measures −3.01 LKFS."""
    t = torch.arange(48000 * 3) / 48000
    assert audio.loudness(torch.sin(2 * math.pi * 997 * t), 48000) == pytest.approx(-3.01, abs=0.05)


def parts(*pieces: tuple[float, float], rate: int = 16000) -> torch.Tensor:
    """A tone of 1 kHz in pieces of (seconds, peak in dB of full scale)."""
    level = torch.cat([torch.full((round(seconds * rate),), 10 ** (db / 20)) for seconds, db in pieces])
    return level * torch.sin(2 * math.pi * 1000 * torch.arange(len(level)) / rate)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # EBU Tech 3341, cases 1 to 4, of one channel instead of two: 3.01 dB less.
        ([(20, -23)], -26.01),
        ([(20, -33)], -36.01),
        ([(10, -36), (60, -23), (10, -36)], -26.01),
        ([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -26.01),
        # The absolute gate lies at -70 LKFS, the relative one 10 LU below what passed the absolute.
        ([(10, -66), (10, -68)], -69.01),
        ([(10, -66), (10, -66.5)], -69.25),
        ([(20, -20), (20, -31.5)], -23.01 - 2.71),  # the quiet half is 8.8 LU below the mean of both: it counts
        ([(20, -20), (20, -32.4)], -23.01 - 2.77),  # 9.6 LU
        ([(20, -20), (20, -33.2)], -23.01),  # 10.4 LU: it does not
        ([(20, -20), (80, -90)], -23.01),  # silence counts in no mean
    ],
)
def test_gates(pieces, expected):
    assert audio.loudness(parts(*pieces), 16000) == pytest.approx(expected, abs=0.1)


def test_a_block_is_0_4_s_and_they_overlap():
    """A click counts in every block that holds it: four of the seven that a second has."""
    wav = torch.zeros(16000)
    wav[8100:8110] = 0.5
    energy = level._energy(wav, 16000)
    assert len(energy) == 7 and int((energy > energy.max() / 2).sum()) == 4
    assert audio.loudness(parts((0.4, -20)), 16000) == pytest.approx(-23, abs=0.3)
    assert audio.loudness(parts((0.39, -20)), 16000) == -math.inf


def test_the_end_does_not_reach_the_beginning():
    """The weighting goes through the spectrum, which is periodic."""
    energy = level._energy(torch.cat([torch.zeros(16000), parts((0.5, -1))]), 16000)
    assert energy[0] < 1e-12 < energy[-1]


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000])
@pytest.mark.parametrize(
    ("hz", "gain"),
    # BS.1770-4, figures 2 and 4: a high pass, and a shelf that lifts high frequencies by 4 dB.
    [(25, -10.4), (100, -1.1), (1000, 0.7), (2000, 3.1), (6000, 4.0)],
)
def test_the_weighting(rate, hz, gain):
    tone = torch.sin(2 * math.pi * hz * torch.arange(4 * rate, dtype=torch.float64) / rate)
    found = audio.loudness(tone, rate) + 0.691 + 3.01
    assert found == pytest.approx(gain, abs=0.35)


# Peaks between samples


def test_peaks_between_the_samples():
    """A quarter of the rate, sampled half-way to its peaks: 3 dB more than its largest sample."""
    tone = 0.5 * torch.sin(math.pi / 2 * torch.arange(16000) + math.pi / 4)
    assert tone.abs().max() == pytest.approx(0.3536, abs=1e-3)
    inner = tone * torch.hann_window(16000).clamp(min=1e-6)  # no edges, which ring
    assert audio.true_peak(inner, 16000) == pytest.approx(-6.02, abs=0.1)
    low = 0.5 * torch.sin(2 * math.pi * 100 * torch.arange(16000) / 16000)
    assert audio.true_peak(low, 16000) == pytest.approx(-6.02, abs=0.1)
    assert audio.true_peak(torch.zeros(100), 16000) == audio.true_peak(torch.zeros(0), 16000) == -math.inf


def test_peaks_are_looked_for_at_four_times_the_rate():
    """This tone's peaks lie where twice the rate still misses them, by 0.7 dB."""
    tone = 0.5 * torch.sin(math.pi / 2 * torch.arange(16000) + math.pi / 8) * torch.hann_window(16000)
    assert audio.true_peak(tone, 16000) == pytest.approx(-6.02, abs=0.1)


def test_the_samples_count_where_interpolation_smooths_them():
    click = torch.zeros(1000)
    click[500] = 0.5
    assert audio.true_peak(click, 16000) >= 20 * math.log10(0.5)
    alternating = torch.tensor([0.5, -0.5]).repeat(500)  # at half the rate
    assert audio.true_peak(alternating, 16000) >= 20 * math.log10(0.5)


# Normalisation


@pytest.mark.parametrize("target", [-22.0, -30.0])
def test_normalisation_reaches_its_target_by_one_gain(speech_file, target):
    wav, rate = audio.read(speech_file)
    scaled = audio.normalize_loudness(wav, rate, target)
    assert scaled.note == "" and audio.loudness(scaled.wav, rate) == pytest.approx(target, abs=1e-3)
    torch.testing.assert_close(scaled.wav, wav * 10 ** (scaled.gain / 20))


def test_the_gain_never_clips(speech_file):
    """Ordinary speech at -16 LKFS would."""
    wav, rate = audio.read(speech_file)
    scaled = audio.normalize_loudness(wav, rate, -16.0)
    assert audio.true_peak(scaled.wav, rate) == pytest.approx(-1.0, abs=0.01)
    reached = audio.loudness(scaled.wav, rate)
    assert -19 < reached < -16.5
    assert scaled.note == f"{reached:.1f} LKFS, not -16: louder, its true peak would pass -1 dB"
    torch.testing.assert_close(scaled.wav, wav * 10 ** (scaled.gain / 20))


@pytest.mark.parametrize("wav", [torch.zeros(16000), torch.zeros(0), torch.full((16000,), 1e-9), torch.randn(3000)])
def test_what_cannot_be_measured_comes_back_unchanged(wav):
    assert audio.loudness(wav, 16000) == -math.inf
    found = audio.normalize_loudness(wav, 16000, -16.0)
    assert torch.equal(found.wav, wav) and found.gain == 0 and "too quiet or too short" in found.note


def noise(samples: int, scale: float) -> torch.Tensor:
    return scale * torch.randn(samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("source", [torch.zeros(48000), noise(48000, 1e-4), torch.zeros(100)])
def test_what_was_silent_stays_silent(source):
    found = audio.normalize_loudness(noise(48000, 0.01), 16000, -16.0, source)
    assert not found.wav.any() and found.gain == -math.inf and found.note == "silent, as the source is"


def test_a_source_shorter_than_a_block_is_heard(speech_file):
    word = audio.read(speech_file)[0][16000:20000]
    for made in (word, torch.cat([word, word])):
        assert audio.normalize_loudness(made, 16000, -23.0, word).wav.any()


@pytest.mark.parametrize("stretch", [1, 2])
def test_noise_in_the_pauses_of_the_source_counts_for_nothing(speech_file, stretch):
    """Half a minute of a hiss 9 dB below the speech would lift all by more than a dB."""
    speech = audio.read(speech_file)[0]
    source = torch.cat([torch.zeros(30 * 16000), speech])
    made = torch.cat([noise(stretch * 30 * 16000, 0.02), *[speech] * stretch])
    made[-len(speech) * stretch :] *= 0.5
    plain, heard = (audio.normalize_loudness(made, 16000, -30.0, s) for s in (None, source))
    spoken = heard.wav[-len(speech) * stretch :]
    assert audio.loudness(spoken, 16000) == pytest.approx(-30, abs=0.7)
    assert plain.gain > heard.gain + 1


def test_the_source_has_a_rate_of_its_own(speech_file):
    hum = 10 ** (-58 / 20) * torch.sin(2 * math.pi * 40 * torch.arange(96000) / 48000)  # silent, if of 16 kHz
    assert audio.normalize_loudness(noise(32000, 0.05), 16000, -30.0, hum, 48000).wav.any()
    assert not audio.normalize_loudness(noise(32000, 0.05), 16000, -30.0, hum).wav.any()
    speech = audio.read(speech_file)[0]
    source = torch.cat([torch.zeros(len(speech)), speech])
    made = torch.cat([noise(len(speech), 0.05), speech])
    gains = [
        audio.normalize_loudness(made, 16000, -30.0, audio.resample(source, 16000, rate), rate).gain
        for rate in (16000, 24000)
    ]
    assert gains[0] == pytest.approx(gains[1], abs=0.2)


def test_trimming_removes_silence_at_both_ends_and_keeps_speech(speech_file):
    wav, rate = audio.read(speech_file)
    noise = 1e-4 * torch.randn(3 * rate, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([noise, wav, noise])
    trimmed = audio.trim_silence(padded, rate, 7)
    assert trimmed.ndim == 1 and 0.5 * len(wav) < len(trimmed) < len(wav) + rate
    assert audio.trim_silence(padded, rate, 0) is padded
    functional = _compat.torchaudio().functional
    front = functional.vad(padded, rate, trigger_level=7)
    assert len(front) < len(padded) - rate
    assert torch.equal(trimmed, functional.vad(front.flip(-1), rate, trigger_level=7).flip(-1))


def test_a_voice_that_is_heard_from_one_end_alone(speech_file):
    """The front trimmed, too little is left for the detector to hear a voice from the other end."""
    word = audio.read(speech_file)[0][16000:22400]
    wav = torch.cat([1e-4 * torch.randn(8000, generator=torch.Generator().manual_seed(0)), word])
    front = _compat.torchaudio().functional.vad(wav, 16000, trigger_level=7)
    assert 0 < len(front) < len(wav)
    assert torch.equal(audio.trim_silence(wav, 16000, 7), wav)


@pytest.mark.parametrize("samples", [0, 300, 3200, 32000])
def test_where_no_voice_is_heard_nothing_is_trimmed(samples):
    wav = torch.zeros(samples)
    assert torch.equal(audio.trim_silence(wav, 16000, 7), wav)


def test_pieces_are_the_whole(monkeypatch):
    wav = torch.randn(7 * 16000 + 77, generator=torch.Generator().manual_seed(0)) * torch.linspace(
        0, 0.5, 7 * 16000 + 77
    )
    whole = level._energy(wav, 16000)
    monkeypatch.setattr(level, "PIECE", 7)
    pieces = level._energy(wav, 16000)
    assert len(whole) == 67
    torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-15)
