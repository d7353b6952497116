"""Encoders of the Hugging Face hub, against transformers' own order of work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.encoders.conftest import HUGGING_FACE, tiny_hugging_face
from vocolab.encoders import HuggingFace, WavLM
from vocolab.errors import VocolabError


@pytest.fixture(scope="module", params=sorted(HUGGING_FACE))
def pair(request, tmp_path_factory) -> tuple[torch.nn.Module, Path]:
    folder = tmp_path_factory.mktemp("model")
    return tiny_hugging_face(request.param, folder), folder


def heard(folder: Path, wav: torch.Tensor) -> dict[str, torch.Tensor]:
    """What transformers' feature extractor makes of a waveform."""
    from transformers import AutoFeatureExtractor

    found = AutoFeatureExtractor.from_pretrained(folder)(wav.numpy(), sampling_rate=16000, return_tensors="pt")
    return {k: v for k, v in found.items() if k != "attention_mask" or "input_features" in found}


def test_a_trimmed_model_gives_the_full_ones_layers(pair, utterances):
    model, folder = pair
    encoder = HuggingFace(folder, layer=2)
    wav = utterances[0]
    with torch.no_grad():
        expected = model(**heard(folder, wav), output_hidden_states=True).hidden_states
    for layer in (2, 0, 3):
        found = encoder.layers(wav[None], layers=[layer])[0][0]
        assert len(expected[layer][0]) - len(found) in (0, 1)  # w2v-BERT's extractor makes a frame of half a pair
        torch.testing.assert_close(found, expected[layer][0, : len(found)], atol=1e-4, rtol=1e-4)
    assert len(encoder.network.encoder.layers) == 3 and len(model.encoder.layers) == 4


@pytest.mark.parametrize("samples", [7040, 7041, 7359, 7360, 31999, 32000, 719, 560])
def test_frame_counts(pair, samples):
    _, folder = pair
    encoder = HuggingFace(folder, layer=1)
    padded = samples + encoder.alignment_padding(samples)
    assert (encoder.hop, encoder.dim, encoder.sample_rate) == (320, 48, 16000)
    assert encoder.frames(padded) == samples // 320
    windows = 1 + (samples - 400) // 160  # of w2v-BERT's filterbank, two a frame
    assert encoder.frames(samples) == ((samples - 400) // 320 + 1 if encoder.min_samples == 400 else windows // 2)
    assert encoder(torch.randn(1, padded)).shape == (1, samples // 320, 48)


def test_the_volume_matters_only_where_nothing_is_normalised(tmp_path, utterances):
    tiny_hugging_face("HuBERT", tmp_path, normalize=False)
    wav = torch.stack([utterances[1], utterances[1] / 4])
    plain, normalised = HuggingFace(tmp_path, 2), HuggingFace(tmp_path, 2, normalize=True)
    assert not torch.allclose(*plain(wav), atol=1e-2)
    torch.testing.assert_close(*normalised(wav), atol=1e-3, rtol=1e-3)
    assert plain.fingerprint()["normalizes"] is False and plain.fingerprint() != normalised.fingerprint()


def test_a_long_recording_is_normalised_as_a_whole(pair, utterances, monkeypatch):
    """With enough context pieces are the whole, though one half of it is quiet."""
    _, folder = pair
    encoder = HuggingFace(folder, layer=0)  # before attention: a frame hears its surroundings alone
    if encoder.config.get("feat_extract_norm") == "group":
        pytest.skip("its first convolution is normalised over all it is given")
    wav = torch.cat([utterances[1], utterances[1] / 8])
    monkeypatch.setattr(encoder, "chunk_seconds", 1.0)
    monkeypatch.setattr(encoder, "context_seconds", 1.0)
    torch.testing.assert_close(encoder.encode_long(wav)[0], encoder(wav[None])[0], atol=1e-4, rtol=1e-4)


def test_weights_of_a_model_with_a_head_and_of_another_age(tmp_path, utterances):
    folder, other = tmp_path / "one", tmp_path / "other"
    tiny_hugging_face("HuBERT", folder)
    shutil.copytree(folder, other)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for new, before in old.items():
            name = name.replace(new, before)
        renamed[f"hubert.{name}"] = tensor
    save_file(renamed | {"lm_head.weight": torch.zeros(3, 48)}, other / "model.safetensors")
    wav = utterances[1][None]
    assert torch.equal(HuggingFace(other, layer=2)(wav), HuggingFace(folder, layer=2)(wav))


def test_building_is_cheap_and_loading_is_late(tmp_path, utterances):
    tiny_hugging_face("XLS-R", tmp_path)
    encoder = HuggingFace(tmp_path, layer=1)
    assert (encoder.dim, encoder.frames(16000)) == (48, 49) and encoder.network is None
    assert not list(encoder.parameters()) and not encoder.state_dict()
    encoder.load()
    assert len(encoder.network.encoder.layers) == 1 and not any(p.requires_grad for p in encoder.parameters())


def test_a_wrong_checkpoint_is_one_line(tmp_path, wavlm_folder, monkeypatch):
    with pytest.raises(VocolabError, match="a wavlm model.*choose the class WavLM"):
        _ = HuggingFace(wavlm_folder).dim
    with pytest.raises(VocolabError, match="not WavLM"):
        tiny_hugging_face("wav2vec 2.0", tmp_path / "one")
        _ = WavLM(tmp_path / "one").dim
    (tmp_path / "one/preprocessor_config.json").unlink()
    with pytest.raises(VocolabError, match="no preprocessor_config.json.*--data.encoder.normalize"):
        _ = HuggingFace(tmp_path / "one").hop
    assert HuggingFace(tmp_path / "one", normalize=True).hop == 320
    config = json.loads((tmp_path / "one/config.json").read_text())
    (tmp_path / "one/config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(VocolabError, match="has shape .*give weights that fit"):
        HuggingFace(tmp_path / "one", 1, normalize=True).load()
    (tmp_path / "one/config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "conv_kernel"}))
    with pytest.raises(VocolabError, match="incomplete configuration .no conv_kernel"):
        _ = HuggingFace(tmp_path / "one", normalize=True).hop


def test_a_hub_model_without_network_is_one_line(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(VocolabError, match="without network.*facebook/hubert-large-ll60k"):
        _ = HuggingFace().dim
