"""Whisper's features: golden values of the built-in weights, and the public model's of any other."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from vocolab import _compat
from vocolab.encoders import Whisper
from vocolab.encoders.whisper import BUILT_IN
from vocolab.errors import VocolabError
from vocolab.parts import build, describe


@pytest.fixture(scope="module")
def encoder() -> Whisper:
    return Whisper()


@pytest.fixture(scope="module")
def whisper_model():
    """A tiny random `transformers.WhisperModel` of half a second (50 mel frames) and four layers."""
    _compat.torchaudio()
    from transformers import WhisperConfig, WhisperModel

    sizes = {
        "d_model": 32,
        "encoder_layers": 4,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    torch.manual_seed(0)
    ffn = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    model = WhisperModel(
        WhisperConfig(**sizes, **ffn, num_mel_bins=128, max_source_positions=25, vocab_size=60000)
    ).eval()
    for parameter in model.encoder.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.5)
    return model


def test_golden_values(encoder):
    n = torch.arange(32000)
    wav = 0.5 * torch.sin(2 * math.pi * 220 * n / 16000) + 0.1 * torch.sin(2 * math.pi * 3000 * n / 16000)
    (feats,) = encoder(wav[None])
    assert feats.shape == (100, 384) and encoder.frames(32000) == 100
    # Pure tones leave most mels near the floor, where the last bit of the sine decides: hence not more digits.
    assert feats.sum().item() == pytest.approx(21311.7, abs=1.0)
    assert feats.abs().mean().item() == pytest.approx(0.587934, abs=1e-4)
    for frame, values in {
        0: (-0.0377, 0.1719, 1.7915),
        50: (1.2182, 0.9411, 0.4506),
        99: (0.6187, 1.0829, 0.9183),
    }.items():
        torch.testing.assert_close(feats[frame, :3], torch.tensor(values), atol=2e-3, rtol=0)


def test_the_built_in_weights_are_the_ones_described(encoder):
    assert encoder.fingerprint()["weights"].startswith("fcf82702") and encoder.fingerprint()["weights"].endswith("26d5")
    assert (encoder.dim, encoder.hop, encoder.sample_rate) == (384, 320, 16000)
    assert describe(encoder)["init_args"] == {"checkpoint": None, "layer": 2}
    assert isinstance(build(describe(encoder)), Whisper)


def test_spectrum_is_the_public_extractors(encoder, utterances):
    _compat.torchaudio()
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor()
    for wav in utterances:
        expected = extractor(wav.numpy(), sampling_rate=16000, padding=False, truncation=False, return_tensors="pt")
        found = encoder._spectrum(wav[None], torch.tensor([len(wav)]))
        torch.testing.assert_close(found, expected["input_features"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("with_head", [False, True])
def test_any_layer_of_a_saved_model(whisper_model, tmp_path, utterances, with_head):
    if with_head:
        from transformers import WhisperForConditionalGeneration

        model = WhisperForConditionalGeneration(whisper_model.config)
        model.model.load_state_dict(whisper_model.state_dict())
    else:
        model = whisper_model
    model.save_pretrained(tmp_path)
    wav = utterances[0][:8000]
    encoder = Whisper(tmp_path, layer=3)
    with torch.no_grad():
        mel = encoder._spectrum(wav[None], torch.tensor([8000]))
        expected = whisper_model.encoder(mel, output_hidden_states=True).hidden_states
    found = encoder.layers(wav[None], layers=[1, 3])
    for layer, feats in zip((1, 3), found, strict=True):
        torch.testing.assert_close(feats, expected[layer], atol=1e-5, rtol=1e-5)
    assert encoder.dim == 32 and len(encoder.blocks.layers) == 3


def test_a_batch_equals_its_rows(encoder, utterances):
    lengths = torch.tensor([len(wav) for wav in utterances])
    for junk in (0.0, 0.9):
        batch = encoder.layers(pad_sequence(utterances, batch_first=True, padding_value=junk), lengths, [2, 0])
        for layer, feats in zip((2, 0), batch, strict=True):
            for wav, row in zip(utterances, feats, strict=True):
                (alone,) = encoder.layers(wav[None], layers=[layer])
                assert alone.shape[1] == encoder.frames(len(wav))
                torch.testing.assert_close(row[: alone.shape[1]], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [400, 480, 719, 7040, 7359, 31999, 32000, 32001, 33333])
def test_frames_cover_every_whole_hop(encoder, samples):
    feats = encoder(torch.randn(1, samples, generator=torch.Generator().manual_seed(samples)))
    assert feats.shape[1] == encoder.frames(samples) >= samples // 320
    assert encoder.alignment_padding(samples) == 0


def test_only_the_layers_asked_for_are_built():
    encoder = Whisper(layer=1).load()
    assert len(encoder.blocks.layers) == 1 and not any(p.requires_grad for p in encoder.parameters())
    assert len(encoder.load([2]).blocks.layers) == 2


def test_mistakes_are_one_line(encoder, tmp_path):
    with pytest.raises(VocolabError, match="layer 3.*0 to 2"):
        Whisper(layer=3).load()
    with pytest.raises(VocolabError, match="200 samples.*400"):
        encoder(torch.zeros(1, 200))
    with pytest.raises(VocolabError, match="no such checkpoint"):
        Whisper(tmp_path / "nowhere").load()
    (tmp_path / "config.json").write_text('{"model_type": "wavlm"}')
    with pytest.raises(VocolabError, match="a wavlm model, not Whisper"):
        Whisper(tmp_path).load()
    (tmp_path / "config.json").write_text('{"model_type": "whisper", "d_model": 32}')
    with pytest.raises(VocolabError, match="incomplete configuration.*encoder_layers"):
        Whisper(tmp_path).load()
    with pytest.raises(VocolabError, match="not a checkpoint folder"):
        Whisper(Path(BUILT_IN)).load()


def test_a_live_signal_remembers_for_a_while_how_loud_it_was(encoder, utterances):
    """Silence after speech lies on the floor that the speech set, until that is forgotten."""
    silence = torch.zeros(16000)
    alone = encoder(silence[None])[0]
    for seconds, forgotten in ((1, False), (200, True)):
        encode = encoder.successive(seconds * 16000)
        encode(utterances[0])
        assert torch.allclose(encode(silence)[0], alone) == forgotten
