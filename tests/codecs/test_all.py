"""What every codec promises (codecs/base.py), held for each of them; see tests/contract.py for one of your own."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from tests.codecs.conftest import tiny_encodec
from tests.contract import padded, speech
from vocolab.codecs import Codec, EnCodec, KMeansCodec
from vocolab.encoders import Mel, Whisper
from vocolab.errors import VocolabError
from vocolab.parts import build, describe
from vocolab.precision import full_precision
from vocolab.vocoders import Vocos

BASE = Codec


def encodec(folder: Path) -> EnCodec:
    if not (folder / "tiny.th").exists():
        torch.save(tiny_encodec().state_dict(), folder / "tiny.th")
    return EnCodec(str(folder / "tiny.th"), bandwidth=3.0)


def kmeans(encoder: Whisper | Mel, **sizes: int) -> KMeansCodec:
    vocoder = Vocos(in_channels=80, dim=8, blocks=1, hidden=8, hop=encoder.hop)
    return KMeansCodec(encoder, levels=3, size=24, iterations=3, vocoder=vocoder, **sizes)


PARTS = {
    "EnCodec": encodec,
    "KMeansCodec": lambda _: kmeans(Whisper(layer=1)),
    "KMeansCodec of mels": lambda _: kmeans(Mel(), hops=1, residual_size=8),
}


@pytest.fixture
def codec(make) -> Codec:
    """Ready to encode: loaded, and fitted where it learns from the data."""
    codec = make()
    if not codec.fitted:
        codec.fit(speech(codec.sample_rate, 60000, 60000, 60000))
    return codec.load()


def rows(codec: Codec) -> list[torch.Tensor]:
    """Speech of different lengths; the longest is not the first."""
    return speech(codec.sample_rate, 17003, 40000, 9999, codec.hop * 10)


def test_codes_are_what_it_says_of_them(codec):
    for wav in rows(codec):
        codes = codec.encode(wav[None])
        assert codes.shape == (1, codec.levels, codec.frames(len(wav))) and codes.dtype == torch.int64
        assert 0 <= int(codes.min()) and int(codes.max()) < codec.size
        assert torch.equal(codec.encode(wav[None]), codes)
    assert len(codes.unique()) > 2
    assert codec.frame_rate == codec.sample_rate / codec.hop and codec.fitted
    assert codec.frames(20 * codec.hop) == codec.frames(10 * codec.hop) + 10


def test_a_batch_equals_its_rows(codec):
    wavs = rows(codec)
    batch, lengths = padded(wavs)
    for wav, row in zip(wavs, codec.encode(batch, lengths), strict=True):
        alone = codec.encode(wav[None])[0]
        assert (row[:, : alone.shape[1]] == alone).float().mean() > 0.99  # as near as rounding lets


def test_any_first_levels_are_decoded(codec):
    codec.check_can_decode()
    codes = torch.cat([codec.encode(wav[None, :9999]) for wav in rows(codec)[:2]])
    said = [codec.decode(codes[:, :k]) for k in range(1, codec.levels + 1)]
    for wav in said:
        assert wav.shape == (2, codes.shape[2] * codec.hop)
        assert wav.dtype == torch.float32 and wav.isfinite().all() and wav.abs().max() <= 1
    assert not torch.equal(said[0], said[-1])
    assert torch.equal(codec.decode(codes), said[-1])
    torch.testing.assert_close(codec.decode(codes[1:]), said[-1][1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sizes", [[1] * 60, [25] * 3, [2, 40, 1, 1, 30], [3], [75]])
def test_codes_that_come_in_are_decoded_as_at_once(codec, sizes):
    """However the codes are cut, a signal of fewer frames than a convolution reaches included."""
    codes = codec.encode(speech(codec.sample_rate, 75 * codec.hop + 2000)[0][None])[0, :, : sum(sizes)]
    for levels in (1, codec.levels):
        decoding = codec.decoding()
        soon = torch.cat([decoding.feed(piece) for piece in codes[:levels].split(sizes, dim=1)])
        assert len(soon) > 0 or sum(sizes) < 60 or type(codec).decoding is Codec.decoding
        wav = torch.cat([soon, decoding.end()])
        torch.testing.assert_close(wav, codec.decode(codes[None, :levels])[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wrong", [-1, "size"])
def test_codes_that_it_has_not_are_one_line(codec, wrong):
    codes = torch.zeros(1, codec.levels, 12, dtype=torch.int64)
    codes[0, 0, 3] = codec.size if wrong == "size" else wrong
    with pytest.raises(VocolabError, match=f"code {int(codes[0, 0, 3])}: .*codes 0 to {codec.size - 1}"):
        codec.decode(codes)
    with pytest.raises(VocolabError, match="codes of shape"):
        codec.decode(codes[:, 0])


def test_speech_that_cannot_be_encoded_is_one_line(codec):
    with pytest.raises(VocolabError, match="at least"):
        codec.encode(torch.zeros(2, codec.sample_rate), torch.tensor([codec.sample_rate, 1]))
    with pytest.raises(VocolabError, match="waveform of shape"):
        codec.encode(torch.zeros(codec.sample_rate))


def test_half_precision_is_not_for_codes(codec):
    wav = rows(codec)[0][None]
    codes = codec.encode(wav)
    assert torch.equal(copy.deepcopy(codec).to(torch.bfloat16).encode(wav), codes)


def test_a_description_and_its_state_rebuild_it(codec):
    described = describe(codec)
    again = build(json.loads(json.dumps(described)), Codec).eval()
    again.load_state_dict(codec.state_dict())
    again.load()
    assert describe(again) == described and again.fitted
    sizes = ("levels", "size", "hop", "sample_rate")
    assert [getattr(again, name) for name in sizes] == [getattr(codec, name) for name in sizes]
    assert json.loads(json.dumps(again.fingerprint())) == codec.fingerprint()
    wav = rows(codec)[0][None]
    assert torch.equal(again.encode(wav), codec.encode(wav))


def test_only_what_it_learns_of_the_data_is_in_its_state(make):
    """Weights that lie elsewhere stay there; what was fitted travels with the model."""
    codec = make()
    learns = type(codec).fit is not Codec.fit
    assert codec.fitted is not learns
    assert not any(p.requires_grad for p in codec.parameters())


@pytest.mark.gpu
def test_on_a_gpu(codec):
    wav = rows(codec)[0][None]
    expected = codec.encode(wav)
    # As wherever codes are stored: TF32 makes a tenth of them others. Of random codewords some are equally near but for
    # rounding; `test_encodec.py` and `test_kmeans.py` hold fitted ones to 99.9 %.
    with full_precision():
        codes = codec.to("cuda").encode(wav.to("cuda")).cpu()
    assert (codes == expected).float().mean() > 0.98
