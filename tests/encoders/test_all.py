"""What every encoder promises (encoders/base.py), held for each of them; see tests/contract.py for one of your own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.contract import padded, speech
from tests.encoders.conftest import HUGGING_FACE, KINDS, tiny_hugging_face, tiny_wavlm
from vocolab.encoders import Encoder, HuggingFace, LayerStack, Mel, WavLM, Whisper
from vocolab.errors import VocolabError
from vocolab.parts import build, describe
from vocolab.precision import full_precision

BASE = Encoder


def wavlm(folder: Path, kind: str) -> WavLM:
    if not (folder / kind).exists():
        tiny_wavlm(kind).save_pretrained(folder / kind)
    return WavLM(checkpoint=str(folder / kind), layer=6)


def hugging_face(folder: Path, name: str) -> HuggingFace:
    if not (folder / name).exists():
        tiny_hugging_face(name, folder / name)
    return HuggingFace(str(folder / name), layer=3)


PARTS = {"Mel": lambda _: Mel(), "Mel at 22.05 kHz": lambda _: Mel(n_mels=20, sample_rate=22050, hop=256, fmax=None)}
PARTS |= {"Whisper": lambda _: Whisper(layer=1)}
PARTS |= {f"WavLM {kind}": lambda folder, kind=kind: wavlm(folder, kind) for kind in KINDS}
PARTS |= {name: lambda folder, name=name: hugging_face(folder, name) for name in HUGGING_FACE}
PARTS |= {"LayerStack": lambda _: LayerStack(Whisper(layer=1), [0, 2])}


def rows(encoder: Encoder) -> list[torch.Tensor]:
    """Speech of different lengths, one of a single frame; the longest is not the first."""
    return speech(encoder.sample_rate, 17003, 40000, encoder.min_samples, 9999)


def test_features_are_what_it_says_of_them(make):
    encoder = make()
    for wav in rows(encoder):
        feats = encoder(wav[None])
        assert feats.shape == (1, encoder.frames(len(wav)), encoder.dim)
        assert feats.dtype == torch.float32 and feats.isfinite().all() and not feats.requires_grad
        assert torch.equal(encoder(wav[None]), feats)
    assert encoder(torch.zeros(1, encoder.sample_rate)).isfinite().all()
    assert not any(p.requires_grad for p in encoder.parameters())


def test_a_batch_equals_its_rows(make):
    encoder = make()
    wavs = rows(encoder)
    batch, lengths = padded(wavs)
    for wav, row in zip(wavs, encoder(batch, lengths), strict=True):
        alone = encoder(wav[None])[0]
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-4, rtol=1e-4)


def test_frames_are_a_hop_apart(make):
    """With the padding that it asks for, there is a frame for every whole hop."""
    encoder = make()
    for extra in (0, 1, encoder.hop // 2, encoder.hop - 1, encoder.hop):
        samples = 5 * encoder.hop + extra
        with_padding = samples + encoder.alignment_padding(samples)
        assert encoder.frames(with_padding) >= samples // encoder.hop
        assert encoder.frames(samples + 10 * encoder.hop) == encoder.frames(samples) + 10
    assert encoder.frames(encoder.min_samples) == 1 or encoder.min_samples > encoder.hop


def test_layers_come_in_the_order_asked(make):
    encoder = make()
    wav = rows(encoder)[0][None]
    if encoder.layer is None:
        assert encoder.depth is None
        assert torch.equal(encoder.layers(wav)[0], encoder(wav))
        with pytest.raises(VocolabError, match="no layers"):
            encoder.layers(wav, layers=[1])
        return
    assert 0 < encoder.depth and encoder.layer <= encoder.depth
    encoder.layers(wav, layers=[encoder.depth])
    with pytest.raises(VocolabError, match=f"layer {encoder.depth + 1}"):
        encoder.layers(wav, layers=[encoder.depth + 1])
    own, first = encoder.layers(wav, layers=[encoder.layer, 0])
    assert own.shape[:2] == first.shape[:2] and not torch.equal(own, first)
    torch.testing.assert_close(own, encoder(wav))
    with pytest.raises(VocolabError, match="layer 99"):
        encoder.load([99]).layers(wav, layers=[99])


def test_a_long_recording_in_pieces_has_the_frames_of_the_whole(make, monkeypatch):
    encoder = make()
    wav = torch.cat(speech(encoder.sample_rate, 40000, 40001))
    whole = encoder(wav[None])[0]
    torch.testing.assert_close(encoder.encode_long(wav)[0], whole)
    monkeypatch.setattr(encoder, "chunk_seconds", 1.0)
    monkeypatch.setattr(encoder, "context_seconds", 0.5)
    pieces = encoder.encode_long(wav)[0]
    assert pieces.shape == whole.shape
    assert torch.nn.functional.cosine_similarity(pieces, whole).mean() > 0.6


def test_windows_of_a_signal_are_encoded_one_after_the_other(make):
    """A first window as it is alone; each window has its own frames, however loud those before it were."""
    encoder = make()
    wav = rows(encoder)[1]
    encode = encoder.successive(10 * encoder.hop)
    for start in (0, 10, 20):
        window = wav[start * encoder.hop : start * encoder.hop + 9999]
        (feats,) = encode(window)
        alone = encoder(window[None])[0]
        assert feats.shape == alone.shape
        assert start > 0 or torch.equal(feats, alone)


def test_what_cannot_be_encoded_is_one_line(make):
    encoder = make()
    with pytest.raises(VocolabError, match=f"{encoder.min_samples - 1} samples are too short"):
        encoder(torch.zeros(1, encoder.min_samples - 1))
    with pytest.raises(VocolabError, match="1 samples are too short"):
        encoder(torch.zeros(2, encoder.sample_rate), torch.tensor([encoder.sample_rate, 1]))
    with pytest.raises(VocolabError, match="waveform of shape"):
        encoder(torch.zeros(encoder.sample_rate))


def test_a_description_rebuilds_it(make):
    encoder = make()
    wav = rows(encoder)[0][None]
    again = build(json.loads(json.dumps(describe(encoder))), Encoder)
    assert describe(again) == describe(encoder)
    assert (again.dim, again.hop, again.sample_rate) == (encoder.dim, encoder.hop, encoder.sample_rate)
    assert json.loads(json.dumps(again.fingerprint())) == encoder.fingerprint()
    assert torch.equal(again(wav), encoder(wav))


@pytest.mark.gpu
def test_on_a_gpu(make):
    """As wherever features are stored."""
    encoder = make()
    wav = rows(encoder)[1][None]
    expected = encoder(wav)
    with full_precision():
        found = encoder.to("cuda")(wav.to("cuda")).cpu()
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
