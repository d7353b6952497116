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
    assert audio.loudness(wav, 16000) <= -20 + 0.1 and audio.true_peak(wav, 16000) <= -0.99


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


def test_silence_is_no_voice(vc):
    for gather in (vc.get_voice, vc.get_matching_set):
        with pytest.raises(VocolabError, match="nothing but silence: waveform"):
            gather([torch.zeros(16000)])


def test_silence_stays_silence(vc, files):
    voice = vc.get_voice(files[4], vad_trigger_level=0)
    made = vc.convert(torch.zeros(16000), voice)
    assert made.wav.shape == (50 * 320,) and not made.wav.any() and made.note == "silent, as the source is"


def test_long_pauses_of_the_source_are_silent_and_speech_is_untouched(vc, files):
    speech, rate = audio.read(files[0], 16000)
    loud = (speech.abs() > 0.01).nonzero()
    speech = speech[loud[0] : loud[-1] + 1]  # files begin and end with silences of their own
    source = torch.cat([speech, 1e-5 * torch.randn(2 * rate), speech])
    voice = vc.get_voice(files[4], vad_trigger_level=0)
    plain = vc.convert(source, voice, loudness=None, silence=None).wav
    gated = vc.convert(source, voice, loudness=None).wav
    start, end = len(speech), len(speech) + 2 * rate
    assert plain[start:end].abs().max() > 1e-3  # the vocoder is not silent by itself
    assert torch.equal(gated[:start], plain[:start]) and torch.equal(gated[end:], plain[end:])
    inside = slice(start + rate // 4, end - rate // 4)
    assert not gated[inside].any()
    slow = vc.convert(source, voice, loudness=None, target_duration=2 * len(source) / rate).wav
    assert not slow[2 * inside.start : 2 * inside.stop].any() and slow[: 2 * start].any() and slow[2 * end :].any()


def test_long_speech_is_converted_in_pieces(vc, files, monkeypatch):
    """Pieces that are matched and vocoded one by one give what `get_features`, matched and vocoded whole, gives."""
    monkeypatch.setattr(vc.encoder, "chunk_seconds", 1.0)
    monkeypatch.setattr(vc.encoder, "context_seconds", 0.2)
    monkeypatch.setattr(vc.vocoder.chunks.__func__, "__defaults__", (20,))
    source = torch.cat([audio.read(file, 16000)[0] for file in files[:2]])
    voice = vc.get_voice(files[4], vad_trigger_level=0)
    query = vc.get_features(source)
    assert len(list(vc._pieces(source, "", 0, [None]))) > 4
    made = vc.convert(source, voice, loudness=None, silence=None).wav
    whole = vc.vocoder(voice.matching[knn(query, voice.matching, 4)].mean(1)[None])[0]
    torch.testing.assert_close(made, whole, atol=1e-5, rtol=0)


def test_a_part_of_a_long_reference(vc, files):
    whole = vc.get_voice(files[4:6], 0).matching
    some, same, other = (vc.get_voice(files[4:6], 0, max_frames=50, seed=seed).matching for seed in (1, 1, 2))
    assert some.shape == (50, 384) and torch.equal(some, same) and not torch.equal(some, other)
    assert (some[:, None] == whole).all(2).any(1).all() and len(some.unique(dim=0)) == 50
    assert torch.equal(vc.get_voice(files[4:6], 0, max_frames=len(whole)).matching, whole)


def test_what_a_vocoder_makes_of_silence_is_not_lifted(vc, monkeypatch):
    """Without the source, `match` knows but how quiet the result is."""
    for scale, lifted in ((0.001, False), (0.02, True)):
        hiss = scale * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
        monkeypatch.setattr(vc.vocoder, "forward", lambda feats, hiss=hiss: hiss)
        made = vc.match(torch.randn(50, 384), torch.randn(50, 384), tgt_loudness_db=-23)
        assert audio.loudness(made, 16000) == pytest.approx(-23 if lifted else audio.loudness(hiss[0], 16000), abs=0.01)


def test_a_limited_gain_is_logged(vc, files, caplog):
    query = vc.get_features(files[0])
    made = vc.match(query, query, tgt_loudness_db=-1)
    assert audio.true_peak(made, 16000) == pytest.approx(-1, abs=0.01)
    assert [r.message for r in caplog.records] == [
        f"loudness: {audio.loudness(made, 16000):.1f} LKFS, not -1: louder, its true peak would pass -1 dB"
    ]


def test_converting_is_matching_at_a_loudness(vc, files):
    voice = vc.get_voice(files[4:6], vad_trigger_level=0)
    query = vc.get_features(files[0])
    for duration in (None, 1.5):
        made = vc.convert(files[0], voice, topk=3, loudness=None, target_duration=duration, silence=None)
        same = vc.match(query, voice.matching, voice.synthesis, 3, None, target_duration=duration)
        assert torch.equal(made.wav, same) and (made.gain, made.note) == (0, "")
    quiet = vc.convert(files[0], voice, loudness=-40)
    assert audio.loudness(quiet.wav, 16000) == pytest.approx(-40, abs=0.5)


# Waveforms instead of files


def forms(wav: torch.Tensor) -> dict[str, object]:
    pcm = (wav * 32768).round().clamp(-32768, 32767).short()
    return {"(1, T)": wav[None], "numpy": wav.numpy(), "float64": wav.double(), "int16": pcm, "int16[]": pcm.numpy()}


@pytest.mark.parametrize("form", ["(1, T)", "numpy", "float64", "int16", "int16[]"])
def test_waveforms_of_any_form_give_the_features_of_their_file(vc, files, form):
    wav, rate = audio.read(files[0])
    given = forms(wav)[form]
    expected = vc.get_features(files[0])
    torch.testing.assert_close(vc.get_features(given), expected, atol=0.02, rtol=0)
    for several in (given, [given]):  # one, or a list of one
        torch.testing.assert_close(vc.get_matching_set(several, vad_trigger_level=0), expected, atol=0.02, rtol=0)
    high = audio.resample(wav, rate, 48000)
    similar = torch.cosine_similarity(vc.get_features(high, sample_rate=48000)[:-1], expected[:-1]).mean()
    assert similar > 0.99


def test_one_file_is_a_matching_set_too(vc, files):
    assert torch.equal(vc.get_matching_set(str(files[0]), vad_trigger_level=0), vc.get_features(files[0]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(0), "no samples: waveform"),
        (torch.zeros(2, 16000), r"waveform of shape \(2, 16000\)"),
        (torch.full((16000,), torch.nan), "not finite"),
        (1000 * torch.ones(16000), "far beyond"),
        (torch.zeros(16000, dtype=torch.int64), "int64"),
        ([0.0] * 16000, "type float|type list"),
        (3, "type int"),
    ],
)
def test_waveforms_that_will_not_do_are_one_line(vc, files, given, message):
    voice = vc.get_voice(files[4], 0)
    for door in (vc.get_features, lambda wav: vc.get_voice([wav]), lambda wav: vc.convert(wav, voice)):
        with pytest.raises(VocolabError, match=message):
            door(given)


@pytest.mark.parametrize(
    ("feats", "message"),
    [
        (torch.randn(384), r"features of shape \(384,\): query_seq: give \(L, C\)"),
        (torch.randn(1, 5, 384), r"shape \(1, 5, 384\)"),
        (torch.randn(0, 384), "no features: query_seq"),
        (torch.full((5, 384), torch.nan), "not finite: query_seq"),
        (torch.randn(5, 80), r"query of shape \(5, 80\)"),
    ],
)
def test_features_that_will_not_do_are_one_line(vc, feats, message):
    pool = torch.randn(50, 384)
    with pytest.raises(VocolabError, match=message):
        vc.match(feats, pool)
    with pytest.raises(VocolabError, match=message.replace("query_seq", "matching_set").split(" of ")[0]):
        vc.match(pool, feats)
    with pytest.raises(VocolabError, match="5 frames to speak for 50|shape|no features|not finite"):
        vc.match(pool, pool, feats)


def test_features_may_be_arrays(vc):
    feats = torch.randn(50, 384)
    assert torch.equal(vc.match(feats.numpy(), feats.numpy()), vc.match(feats, feats))
    assert torch.equal(vc.vocode(feats[None].numpy()), vc.vocode(feats[None]))
    with pytest.raises(VocolabError, match=r"shape \(50, 384\): vocode: give \(B, L, C\)"):
        vc.vocode(feats)


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
