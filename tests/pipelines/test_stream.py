"""Conversion of speech as it comes in: what comes out depends on the signal, not on the chunks."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.encoders.conftest import tiny_wavlm
from vocolab import audio
from vocolab.encoders import Encoder, LayerStack, Mel, WavLM, Whisper
from vocolab.errors import UsageError, VocolabError
from vocolab.pipelines import KNNVC, Stream, Voice
from vocolab.vocoders import HiFiGAN, LayerWeights, Vocoder, Vocos

SHORT = {"context": 0.5, "lookahead": 0.1, "block": 0.14}


def vocos(width: int) -> Vocoder:
    return Vocos(width, dim=16, blocks=2, hidden=16)


def hifigan(width: int) -> Vocoder:
    vocoder = HiFiGAN(width, projection=16, channels=16)
    for p in vocoder.parameters():
        p.data.mul_(3)  # so that an untrained one is heard
    return vocoder.fold()


def converter(encoder: Encoder, make=vocos) -> KNNVC:
    torch.manual_seed(0)
    return KNNVC(make(encoder.dim), encoder)


@pytest.fixture(scope="module")
def files(speech_folder) -> list[Path]:
    return sorted(speech_folder.rglob("*.opus"))


@pytest.fixture(scope="module")
def wav(files) -> Tensor:
    """2.5 seconds of speech, no whole number of blocks, hops or chunks."""
    return audio.read(files[0], 16000)[0][:40123]


@pytest.fixture(scope="module")
def vc() -> KNNVC:
    return converter(Whisper())


@pytest.fixture(scope="module")
def voice(vc, files) -> Voice:
    return vc.get_voice(files[4], vad_trigger_level=0)


def fed(stream: Stream, wav: Tensor, sizes: int | list[int]) -> Tensor:
    """The speech of a stream that is fed chunks of one size, or of these sizes again and again."""
    sizes = [sizes] if isinstance(sizes, int) else sizes
    pieces, at, n = [], 0, 0
    while at < len(wav):
        pieces.append(stream.feed(wav[at : at + sizes[n % len(sizes)]]))
        at, n = at + sizes[n % len(sizes)], n + 1
    return torch.cat([*pieces, stream.end()])


def check_equal(a: Tensor, b: Tensor) -> None:
    """Equal to 1e-5 of the loudest sample, however quietly an untrained vocoder speaks."""
    assert a.shape == b.shape and float(b.abs().max()) > 1e-4
    assert float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())


@pytest.mark.parametrize("make", [vocos, hifigan])
@pytest.mark.parametrize("seed", range(2))
def test_chunks_of_any_size_give_the_same_waveform(make, seed, files, wav):
    vc = converter(Whisper(), make)
    voice = vc.get_voice(files[4], vad_trigger_level=0)
    whole = fed(vc.stream(voice, **SHORT), wav, len(wav))
    assert len(whole) == vc.encoder.frames(len(wav)) * 320
    drawn = random.Random(seed)
    sizes = [drawn.choice([0, 1, 7, 160, 320, 4801, drawn.randint(1, 12000)]) for _ in range(50)]
    check_equal(fed(vc.stream(voice, **SHORT), wav, sizes), whole)
    check_equal(fed(vc.stream(voice, **SHORT), wav, [160, 4801][seed % 2]), whole)


def test_single_samples_give_the_same_waveform(vc, voice, wav):
    wav = wav[4000:10000]
    check_equal(fed(vc.stream(voice, **SHORT), wav, 1), fed(vc.stream(voice, **SHORT), wav, 6000))


def test_the_converter_in_the_package_streams(files, wav):
    vc = KNNVC.pretrained()
    voice = vc.get_voice(files[4], vad_trigger_level=0)
    whole = vc.convert(wav, voice, loudness=None, silence=None).wav
    for sizes in (30000, [4801, 320, 1]):
        check_equal(fed(vc.stream(voice, context=3, lookahead=2.3, block=0.3, loudness=None), wav, sizes), whole)
    assert abs(vc.stream(voice).latency - 0.865) < 1e-6


def encoders(folder: Path) -> list[Encoder]:
    tiny_wavlm("base").save_pretrained(folder)
    return [Whisper(), Mel(), WavLM(folder)]


def test_every_encoder_streams(tmp_path, files, wav):
    """In any chunks alike; and where the window holds the whole signal, the stream is `convert`."""
    for encoder in encoders(tmp_path):
        vc = converter(encoder)
        voice = vc.get_voice(files[4], vad_trigger_level=0)
        whole = vc.convert(wav, voice, loudness=None, silence=None).wav
        check_equal(fed(vc.stream(voice, context=3, lookahead=2.3, block=0.3, loudness=None), wav, 4801), whole)
        windowed = fed(vc.stream(voice, **SHORT, loudness=None), wav, len(wav))
        check_equal(fed(vc.stream(voice, **SHORT, loudness=None), wav, 4801), windowed)
        # A spectrogram's frames see but a few hops, so for it a small window is enough.
        assert torch.allclose(windowed, whole, atol=1e-6) == isinstance(encoder, Mel)


def test_layers_side_by_side_are_spoken_where_one_is_matched(files, wav):
    torch.manual_seed(0)
    vc = KNNVC(LayerWeights(vocos(384), 768), LayerStack(Whisper(), [1, 2]), matching_layer=1, synthesis_layer=-1)
    voice = vc.get_voice(files[4], vad_trigger_level=0)
    whole = vc.convert(wav, voice, loudness=None, silence=None).wav
    check_equal(fed(vc.stream(voice, context=3, lookahead=2.3, block=0.3, loudness=None), wav, 4801), whole)


def test_the_context_and_the_lookahead_bring_frames_near_to_those_of_the_whole(vc, voice, wav):
    whole = vc.get_features(wav)

    def distance(context: float, lookahead: float) -> float:
        blocks = vc.stream(voice, context=context, lookahead=lookahead, block=0.2).encoded
        with torch.inference_mode():
            feats = torch.cat([*blocks.add(wav), *blocks.rest()])
        return float(1 - torch.cosine_similarity(feats, whole).mean())

    assert distance(1, 0.4) < distance(1, 0) < distance(0, 0)


def test_speech_comes_out_within_the_latency(vc, voice, wav):
    stream = vc.stream(voice, **SHORT)
    wanted = (0.14 + 0.1) * 16000 - 320 + 400 + vc.vocoder.context * 320
    assert stream.latency * 16000 == wanted
    made, worst = 0, 0
    for at in range(0, 32000, 80):
        made += len(stream.feed(wav[at : at + 80]))
        worst = max(worst, at + 80 - made)
    assert wanted - 80 <= worst <= wanted


def test_what_has_come_out_does_not_depend_on_what_comes(vc, voice, wav):
    other = torch.cat([wav[:20000], 0.9 * torch.rand(20000, generator=torch.Generator().manual_seed(0))])
    one, two = vc.stream(voice, **SHORT), vc.stream(voice, **SHORT)
    first = one.feed(wav[:20000])
    assert torch.equal(first, two.feed(other[:20000]))
    rest = [torch.cat([stream.feed(w[20000:]), stream.end()]) for stream, w in ((one, wav), (two, other))]
    assert len(first) and not torch.equal(*rest)


def held(stream: Stream) -> int:
    """Numbers that a stream keeps of its signal."""
    return sum(
        piece.untyped_storage().nbytes() // 4
        for tail in (stream.encoded.samples, stream.spoken.frames)
        for piece in tail.pieces
    )


@pytest.mark.parametrize("size", [160, 7777, 64_000])
def test_memory_does_not_grow(vc, voice, size):
    """Whatever the chunks, a stream keeps at most its window and one more block."""
    stream = vc.stream(voice, **SHORT)
    noise = 0.1 * torch.randn(64_000, generator=torch.Generator().manual_seed(0))
    most = 0
    for at in range(0, len(noise), size):
        stream.feed(noise[at : at + size])
        most = max(most, held(stream))
    samples = (0.5 + 0.1 + 2 * 0.14) * 16000 + 400
    assert most <= samples + 384 * (2 * vc.vocoder.context + 7)


def test_the_memory_of_a_chunk_may_be_used_again(vc, voice, wav):
    stream, buffer = vc.stream(voice, **SHORT), torch.zeros(500)
    pieces = []
    for at in range(0, 20000, 500):
        buffer.copy_(wav[at : at + 500])
        pieces.append(stream.feed(buffer))
        buffer.fill_(0.5)
    check_equal(torch.cat([*pieces, stream.end()]), fed(vc.stream(voice, **SHORT), wav[:20000], 500))


def test_two_streams_of_a_converter_do_not_meet(vc, voice, wav):
    alone = fed(vc.stream(voice, **SHORT), wav, 1000)
    one, two = vc.stream(voice, **SHORT), vc.stream(voice, **SHORT)
    pieces = []
    for at in range(0, len(wav), 1000):
        pieces.append(one.feed(wav[at : at + 1000]))
        two.feed(wav.flip(0)[at : at + 1000])
    check_equal(torch.cat([*pieces, one.end()]), alone)


@pytest.mark.parametrize("context", [0, 0.5])
@pytest.mark.parametrize("encoder", [Whisper(), Mel(sample_rate=22050, hop=256, n_mels=20)], ids=["Whisper", "Mel"])
def test_signals_of_every_length_end_with_all_their_frames(encoder, context):
    vc = converter(encoder)
    pool = torch.randn(20, encoder.dim)
    voice = Voice(pool, pool)
    block, hop = round(0.1 * encoder.sample_rate), encoder.hop
    noise = 0.1 * torch.randn(3 * block)
    for length in {
        0,
        1,
        159,
        160,
        399,
        400,
        719,
        hop,
        2 * hop,
        block,
        block + 1,
        block + 400,
        *range(2 * block, 2 * block + 600, 37),
    }:
        stream = vc.stream(voice, context=context, lookahead=0.04, block=0.1)
        frames = encoder.frames(length) if length >= encoder.min_samples else 0
        assert len(fed(stream, noise[:length], 777)) == frames * vc.vocoder.hop


def test_another_rate_is_resampled_as_the_whole_is(vc, voice, wav):
    high = audio.resample(wav, 16000, 44100)
    settings = {"context": 3, "lookahead": 2.3, "block": 0.3, "loudness": None, "sample_rate": 44100}
    whole = vc.convert(high, voice, loudness=None, silence=None, sample_rate=44100).wav
    for size in (882, 30011):
        check_equal(fed(vc.stream(voice, **settings), high, size), whole)


def test_chunks_of_any_type(vc, voice, wav):
    pcm = (wav[:20000] * 32768).round().clamp(-32768, 32767).short()
    made = [
        fed(vc.stream(voice, **SHORT), given, 700)
        for given in (pcm.float() / 32768, pcm, pcm.numpy(), pcm.double() / 32768, (pcm.float() / 32768).numpy())
    ]
    for other in made[1:]:
        check_equal(other, made[0])
    stream = vc.stream(voice, **SHORT)
    check_equal(torch.cat([stream.feed(pcm[None]), stream.end()]), made[0])


def test_loudness_is_one_gain_known_before_the_first_sample(vc, voice, wav):
    plain, quiet = vc.stream(voice, **SHORT, loudness=None), vc.stream(voice, **SHORT, loudness=-40)
    assert plain.gain == 0 and quiet.gain != 0
    spoken = vc.vocode(voice.synthesis[:500][None])[0]
    assert audio.loudness(spoken * 10 ** (quiet.gain / 20), 16000) == pytest.approx(-40, abs=0.1)
    check_equal(fed(quiet, wav, 1000), fed(plain, wav, 1000) * 10 ** (quiet.gain / 20))


def test_nothing_passes_full_scale(vc, voice, wav):
    stream = vc.stream(voice, **SHORT)
    stream.gain = 80.0
    assert float(fed(stream, wav, 1000).abs().max()) == 1


def test_silence_is_converted_and_gives_finite_samples(vc, voice):
    made = fed(vc.stream(voice, **SHORT), torch.zeros(40000), 999)
    assert len(made) == 125 * 320 and made.isfinite().all()


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (torch.zeros(2, 1600), r"waveform of shape \(2, 1600\): chunk: give one channel"),
        (np.zeros((1600, 2), np.float32), r"shape \(1600, 2\)"),
        (torch.full((1600,), torch.nan), "not finite: chunk"),
        (np.full(1600, np.inf), "not finite: chunk"),
        (1000 * torch.ones(1600), "far beyond"),
        (torch.zeros(1600, dtype=torch.int64), "int64"),
        ([0.0] * 1600, "type list"),
        ("speech.wav", "type str"),
        (None, "type NoneType"),
    ],
)
def test_a_chunk_that_will_not_do_is_one_line_and_leaves_no_trace(vc, voice, wav, chunk, message):
    stream = vc.stream(voice, **SHORT)
    pieces = [stream.feed(wav[:9000])]
    with pytest.raises(VocolabError, match=message) as raised:
        stream.feed(chunk)
    assert "\n" not in str(raised.value)
    check_equal(torch.cat([*pieces, stream.feed(wav[9000:]), stream.end()]), fed(vc.stream(voice, **SHORT), wav, 9000))


def test_nothing_in_is_nothing_out(vc, voice):
    stream = vc.stream(voice, **SHORT)
    for empty in (torch.zeros(0), torch.zeros(1, 0), np.zeros(0, np.int16)):
        assert stream.feed(empty).shape == (0,)
    assert stream.end().shape == (0,)


def test_a_stream_ends_once(vc, voice, wav):
    stream = vc.stream(voice, **SHORT)
    stream.feed(wav)
    stream.end()
    for door in (lambda: stream.feed(wav), stream.end):
        with pytest.raises(UsageError, match="the stream has ended"):
            door()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block": 0}, "block is 0 s: stream: give at least 0.02 s"),
        ({"block": 0.001}, "block is 0.001 s"),
        ({"block": float("nan")}, "block is nan s"),
        ({"context": -1}, "context is -1 s"),
        ({"lookahead": -0.1}, "lookahead is -0.1 s"),
        ({"lookahead": float("inf")}, "lookahead is inf s"),
        ({"context": 40}, "40.4 s together: stream: give at most 30 s"),
        ({"loudness": float("nan")}, "loudness is nan LKFS"),
        ({"sample_rate": 0}, "sample rate of 0 Hz"),
        ({"topk": 0}, "k = 0"),
        ({"topk": 10_000}, "k = 10000 neighbours of a pool of"),
    ],
)
def test_settings_that_will_not_do_are_one_line(vc, voice, settings, message):
    with pytest.raises(VocolabError, match=message):
        vc.stream(voice, **settings)


@pytest.mark.parametrize(
    ("matching", "synthesis", "message"),
    [
        (torch.randn(50, 80), torch.randn(50, 384), r"query of shape \(1, 384\) against a pool of shape \(50, 80\)"),
        (torch.randn(50, 384), torch.randn(50, 80), "width 80, the vocoder takes 384"),
        (torch.randn(0, 384), torch.randn(0, 384), "no features"),
        (torch.full((50, 384), torch.nan), torch.randn(50, 384), "not finite"),
    ],
)
def test_a_voice_that_does_not_fit_is_one_line(vc, matching, synthesis, message):
    with pytest.raises(VocolabError, match=message):
        vc.stream(Voice(matching, synthesis))


def test_something_else_than_a_voice_is_one_line(vc, files):
    for wrong in (files[0], [torch.randn(50, 384)], None):
        with pytest.raises(UsageError, match="voice of type .*: stream: give what get_voice or get_matching_set"):
            vc.stream(wrong)
    with pytest.raises(VocolabError, match=r"features of shape \(384,\)"):
        vc.stream(torch.randn(384))


def test_a_matching_set_is_a_voice(vc, voice, wav):
    made = fed(vc.stream(voice.matching, **SHORT), wav, 4000)
    check_equal(made, fed(vc.stream(Voice(voice.matching, voice.matching), **SHORT), wav, 4000))


def test_the_example_of_the_page_runs(vc, voice, files, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "convert.md").read_text()
    (example,) = re.findall(r"```python\n((?:(?!```).)*vc\.stream.*?)```", page, re.S)
    monkeypatch.chdir(tmp_path)
    audio.write(tmp_path / "speech.wav", audio.read(files[0], 22050)[0][:30000], 22050)
    exec(example, {"vc": vc, "voice": voice})
    assert abs(audio.info(tmp_path / "live.wav").seconds - 30000 / 22050) < 0.02


def test_without_an_encoder_nothing_streams(voice):
    with pytest.raises(UsageError, match="the checkpoint names no encoder"):
        KNNVC(vocos(384)).stream(voice)
