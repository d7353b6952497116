"""The k-means codec: codes that carry the words, the same in any batch, and a state that travels."""

from __future__ import annotations

import copy
from difflib import SequenceMatcher

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vocolab.codecs import KMeansCodec
from vocolab.codecs.clusters import nearest
from vocolab.encoders import Whisper
from vocolab.errors import UsageError, VocolabError
from vocolab.parts import build, describe
from vocolab.precision import full_precision
from vocolab.vocoders import Vocos

SIZES = {"levels": 3, "size": 48}


@pytest.fixture(scope="module")
def codec(utterances) -> KMeansCodec:
    codec = KMeansCodec(Whisper(), **SIZES)
    assert not codec.fitted
    codec.fit(utterances)
    return codec


def small_vocos(**sizes) -> Vocos:
    return Vocos(**{"in_channels": 80, "dim": 8, "blocks": 1, "hidden": 8} | sizes)


def fresh(codec: KMeansCodec) -> KMeansCodec:
    return build(describe(codec))


def mels(codec: KMeansCodec, wav: Tensor) -> Tensor:
    """(L·hops, n_mels) of wav (T,)."""
    return codec.log_mel(wav[None])[0].T[: codec.frames(len(wav)) * codec.hops]


def test_sizes(codec):
    assert codec.fitted and (codec.levels, codec.size, codec.hop, codec.sample_rate) == (3, 48, 640, 16000)
    assert codec.frame_rate == 25 and codec.frames(16000) == 25 and codec.frames(16639) == 25 and codec.frames(639) == 0
    assert KMeansCodec(Whisper(), hops=1).frame_rate == 50


def test_the_first_level_is_the_features_and_stands_for_the_mean_mel(codec, utterances):
    feats, frames, codes = [], [], []
    for wav in utterances:
        count = codec.frames(len(wav))
        feats.append(codec.encoder(wav[None])[0, : 2 * count].reshape(count, -1))
        frames.append(mels(codec, wav).reshape(count, -1))
        codes.append(codec.encode(wav[None])[0, 0])
    feats, frames, codes = torch.cat(feats), torch.cat(frames), torch.cat(codes)
    assert (codes == nearest(feats, codec.centres)).float().mean() > 0.999  # batches round otherwise
    for code in codes.unique().tolist():
        found = codec.mel(torch.tensor([[[code]]])).flatten()
        torch.testing.assert_close(found, frames[codes == code].mean(dim=0), atol=0.05, rtol=0)


def test_each_level_comes_nearer(codec, utterances):
    errors = torch.zeros(3)
    for wav in utterances:
        codes = codec.encode(wav[None])
        for level in range(3):
            errors[level] += (codec.mel(codes[:, : level + 1])[0] - mels(codec, wav)).square().mean()
    assert errors[1] < 0.8 * errors[0] and errors[2] < 0.9 * errors[1]


def test_the_first_level_carries_the_words(codec, utterances):
    """Its codes are more alike in two voices saying the same than in one voice saying two things."""

    def alike(a: Tensor, b: Tensor) -> float:
        return SequenceMatcher(None, a.tolist(), b.tolist(), autojunk=False).ratio()

    codes = [codec.encode(wav[None])[0, 0].unique_consecutive() for wav in utterances]
    same = sum(alike(codes[i], codes[6 + i]) for i in range(6)) / 6
    other = sum(alike(codes[i], codes[(i + 1) % 6]) for i in range(6)) / 6
    assert same > other + 0.15


def test_fewer_codes_beyond_the_first_level(codec, utterances):
    few = KMeansCodec(Whisper(), **SIZES, residual_size=5)
    few.fit(utterances)
    codes = few.encode(utterances[0][None])
    assert codes[0, 0].max() >= 5 and codes[0, 1:].max() < 5
    assert torch.equal(codes[:, 0], codec.encode(utterances[0][None])[:, 0])
    silent = torch.tensor([[[3], [5], [47]]])  # what no frame has adds nothing, should a model say it
    assert torch.equal(few.mel(silent), few.mel(silent[:, :1]))
    with pytest.raises(UsageError, match=r"residual_size is 49.*at most size \(48\)"):
        KMeansCodec(Whisper(), **SIZES, residual_size=49)


def test_rows_that_the_encoder_cuts(codec, utterances, monkeypatch):
    long = torch.cat(utterances[:3])[: 16000 * 7]
    rows = [long, utterances[3][:20000]]
    monkeypatch.setattr(codec.encoder, "chunk_seconds", 3.0)
    batch = codec.encode(pad_sequence(rows, batch_first=True), torch.tensor([len(wav) for wav in rows]))
    for wav, row in zip(rows, batch, strict=True):
        alone = codec.encode(wav[None])[0]
        assert alone.shape[1] == codec.frames(len(wav)) and torch.equal(row[:, : alone.shape[1]], alone)


def test_fitting_again_gives_the_same(utterances):
    first, again, other = (KMeansCodec(Whisper(), **SIZES, seed=seed) for seed in (0, 0, 1))
    first.fit(utterances[:2])
    again.fit(iter(utterances[:2]))
    other.fit(utterances[:2])
    assert again.fingerprint() == first.fingerprint() != other.fingerprint()
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), first.buffers(), strict=True))


def test_few_frames_of_many_decide(codec, utterances):
    thin = KMeansCodec(Whisper(), **SIZES, max_frames=300)
    feats, frames = thin._sample([*utterances, torch.zeros(100)])
    every, _ = codec._sample(utterances)
    assert len(feats) == len(frames) == 300 < len(every) / 2
    rows = torch.cdist(feats, every).argmin(dim=1)
    assert len(rows.unique()) == 300 and rows.max() > 0.9 * len(every) and rows.min() < 0.1 * len(every)


def test_a_state_dict_travels(codec, utterances):
    state = codec.state_dict()
    assert set(state) == {"centres", "codewords"}  # nothing of the encoder
    again = fresh(codec)
    assert not again.fitted and "codebooks" not in again.fingerprint()
    again.load_state_dict(state)
    assert again.fitted and again.fingerprint() == codec.fingerprint()
    assert torch.equal(again.encode(utterances[0][None]), codec.encode(utterances[0][None]))
    assert list(codec.parameters()) == []


def test_the_vocoder_it_received(codec, utterances):
    speaking = copy.deepcopy(codec).receive(small_vocos())
    codes = codec.encode(utterances[0][None])
    wav = speaking.decode(codes[:, :2])
    assert wav.shape == (1, codes.shape[2] * 640)
    assert torch.equal(wav, speaking.vocoder(codec.mel(codes[:, :2])))
    assert not any(p.requires_grad for p in speaking.parameters()) and not speaking.vocoder.training
    state = speaking.state_dict()
    assert set(state) - set(codec.state_dict()) == {f"vocoder.{name}" for name in small_vocos().state_dict()}
    again = fresh(speaking)  # the vocoder's sizes are in the description
    again.load_state_dict(state)
    assert torch.equal(again.decode(codes[:, :2]), wav)
    replaced = speaking.receive(small_vocos(dim=4))
    assert replaced.decode(codes).shape == wav.shape and replaced.fingerprint() == codec.fingerprint()


def test_a_vocoder_by_name(codec, utterances):
    named = KMeansCodec(Whisper(), **SIZES, vocoder="runs/vocoder/checkpoints/last.ckpt")
    assert describe(named)["init_args"]["vocoder"] == "runs/vocoder/checkpoints/last.ckpt"
    named.load_state_dict(codec.state_dict())
    with pytest.raises(VocolabError, match="no vocoder.*--data.codec.vocoder.*receive"):
        named.decode(codec.encode(utterances[0][None]))
    assert isinstance(named.receive(small_vocos()).vocoder, Vocos)


@pytest.mark.parametrize(
    "sizes, message", [({"in_channels": 100}, "in_channels 100.*80"), ({"hop": 160, "n_fft": 640}, "hop 160.*320")]
)
def test_a_vocoder_of_other_frames(codec, sizes, message):
    with pytest.raises(VocolabError, match=message):
        fresh(codec).receive(small_vocos(**sizes))


def test_the_encoder_moves_along(codec):
    moved = copy.deepcopy(codec).to(torch.float64)
    assert moved.encoder.placement.dtype == torch.float64 == moved.codewords.dtype
    assert codec.encoder.placement.dtype == torch.float32


def test_before_it_is_fitted():
    codec = KMeansCodec(Whisper(), **SIZES)
    for use in (lambda: codec.encode(torch.zeros(1, 16000)), lambda: codec.mel(torch.zeros(1, 1, 1).long())):
        with pytest.raises(VocolabError, match="not fitted.*vocolab prepare"):
            use()


def test_mistakes_are_one_line(codec, utterances):
    for wrong in (-1, 48):
        with pytest.raises(VocolabError, match=f"code {wrong}.*0 to 47"):
            codec.mel(torch.full((1, 3, 2), wrong))
    for shape in ((1, 4, 2), (1, 0, 2), (3, 2)):
        with pytest.raises(VocolabError, match="shape.*1 to 3 levels"):
            codec.mel(torch.zeros(shape, dtype=torch.long))
    with pytest.raises(VocolabError, match="639 samples.*at least 640 samples"):
        codec.encode(torch.zeros(2, 2000), torch.tensor([2000, 639]))
    with pytest.raises(VocolabError, match="25 frames for 48 codes.*at most 25"):
        fresh(codec).fit([utterances[0][:16000]])
    with pytest.raises(VocolabError, match="0 frames for 48 codes"):
        fresh(codec).fit([])
    for name, wrong in {"levels": 0, "residual_size": 0, "max_frames": 10}.items():
        with pytest.raises(UsageError, match=f"{name} is {wrong}"):
            KMeansCodec(Whisper(), **{name: wrong})


@pytest.mark.gpu
def test_on_a_gpu(codec, utterances):
    moved = copy.deepcopy(codec).to("cuda")
    with full_precision():
        codes = moved.encode(utterances[0][None].cuda())
    assert codes.is_cuda and (codes.cpu() == codec.encode(utterances[0][None])).float().mean() >= 0.999
    states = []
    for _ in range(2):
        again = fresh(codec).to("cuda")
        again.fit(utterances)
        states.append(again.fingerprint())
    assert states[0] == states[1]
