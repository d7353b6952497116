"""Our WavLM against the public one, whatever the kind of checkpoint, batch and layer."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch.nn.utils.rnn import pad_sequence

from tests.encoders.conftest import tiny_wavlm
from vocolab import weights
from vocolab.encoders import WavLM
from vocolab.encoders.wavlm_blocks import WavLMShape
from vocolab.errors import VocolabError
from vocolab.parts import build, describe

# Samples -> frames without padding, and with the padding of prematching.
FRAMES = {
    7040: (21, 22),
    7041: (21, 22),
    7359: (22, 22),
    7360: (22, 23),
    31999: (99, 99),
    32000: (99, 100),
    400: (1, 1),
    719: (1, 2),
}


def hidden_states(model, wav: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return model(wav[None], output_hidden_states=True).hidden_states


def test_a_trimmed_model_gives_the_full_ones_layers(wavlm_pair, utterances):
    model, folder = wavlm_pair
    encoder = WavLM(folder, layer=6)
    for wav in utterances:
        expected = hidden_states(model, wav)
        assert encoder.frames(len(wav)) == expected[6].shape[1]
        torch.testing.assert_close(encoder(wav[None]), expected[6], atol=1e-5, rtol=1e-5)
    assert len(encoder.network.blocks) == 6  # of 8: what is not needed is not built


def test_several_layers_in_the_order_asked(wavlm_pair, utterances):
    model, folder = wavlm_pair
    expected = hidden_states(model, utterances[0])
    encoder = WavLM(folder)
    for wanted in ([0], [3, 1], [1, 7, 2], []):
        found = encoder.layers(utterances[0][None], layers=wanted)
        assert len(found) == len(wanted)
        for layer, feats in zip(wanted, found, strict=True):
            torch.testing.assert_close(feats, expected[layer], atol=1e-5, rtol=1e-5)


def test_the_last_layer_is_raw(wavlm_folder, utterances):
    """The public large model normalises its output; kNN-VC's features come before that."""
    model = tiny_wavlm("large")
    with torch.no_grad():
        normalised = model(utterances[0][None]).last_hidden_state
        found = WavLM(wavlm_folder, layer=8)(utterances[0][None])
        torch.testing.assert_close(model.encoder.layer_norm(found), normalised, atol=1e-5, rtol=1e-5)
    assert (found - normalised).abs().max() > 0.1


@pytest.mark.parametrize("limit", [1, 150, 10_000])
def test_a_batch_equals_its_rows(wavlm_pair, utterances, monkeypatch, limit):
    monkeypatch.setattr("vocolab.encoders.wavlm.CPU_FRAMES", limit)  # rows one by one, in twos, all padded together
    encoder = WavLM(wavlm_pair[1])
    lengths = torch.tensor([len(wav) for wav in utterances])
    batch = encoder.layers(pad_sequence(utterances, batch_first=True), lengths, [6, 2])
    for layer, feats in zip((6, 2), batch, strict=True):
        assert feats.shape == (4, encoder.frames(int(lengths.max())), 48)
        for wav, row in zip(utterances, feats, strict=True):
            (alone,) = encoder.layers(wav[None], layers=[layer])
            torch.testing.assert_close(row[: alone.shape[1]], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("junk", [1e3, -50.0])
def test_what_lies_in_the_padding_does_not_matter(wavlm_pair, utterances, junk, monkeypatch):
    monkeypatch.setattr("vocolab.encoders.wavlm.CPU_FRAMES", 10_000)
    encoder = WavLM(wavlm_pair[1])
    lengths = torch.tensor([len(wav) for wav in utterances])
    silent = encoder(pad_sequence(utterances, batch_first=True), lengths)
    noisy = encoder(pad_sequence(utterances, batch_first=True, padding_value=junk), lengths)
    for row, other, length in zip(silent, noisy, lengths.tolist(), strict=True):
        frames = encoder.frames(length)
        torch.testing.assert_close(row[:frames], other[:frames], atol=1e-5, rtol=0)


@pytest.mark.parametrize("segment", [1, 7, 1000])
def test_convolving_in_segments_changes_nothing(wavlm_folder, utterances, monkeypatch, segment):
    encoder = WavLM(wavlm_folder)
    expected = encoder(utterances[1][None])
    monkeypatch.setattr("vocolab.encoders.wavlm_blocks.SEGMENT", segment)
    torch.testing.assert_close(encoder(utterances[1][None]), expected, atol=1e-5, rtol=0)


def test_attention_in_blocks_of_queries_changes_nothing(wavlm_folder, utterances, monkeypatch):
    encoder = WavLM(wavlm_folder)
    expected = encoder(utterances[1][None])
    monkeypatch.setattr("vocolab.encoders.wavlm_blocks.BIAS_ELEMENTS", 4 * 124 * 10)
    torch.testing.assert_close(encoder(utterances[1][None]), expected, atol=1e-5, rtol=0)


def test_long_recordings_in_pieces(wavlm_folder, utterances, monkeypatch):
    encoder = WavLM(wavlm_folder)
    wav = torch.cat(utterances)
    (whole,) = encoder.layers(wav[None])
    assert torch.equal(encoder.encode_long(wav)[0], whole[0])  # shorter than a piece
    monkeypatch.setattr(encoder, "chunk_seconds", 1.0)
    monkeypatch.setattr(encoder, "context_seconds", 0.5)
    first, second = encoder.encode_long(wav, [2, 6])
    assert first.shape == second.shape == whole[0].shape
    near = torch.nn.functional.cosine_similarity(second, whole[0])
    assert near.mean() > 0.95 and near.min() > 0.8  # in place, though attention sees less
    # Far from both ends of a piece the convolutions alone are exact.
    (inputs,) = encoder.layers(wav[None], layers=[0])
    assert torch.allclose(encoder.encode_long(wav, [0])[0], inputs[0], atol=1e-5)


@pytest.mark.parametrize("samples", FRAMES)
def test_golden_frame_counts(samples):
    encoder = WavLM()  # the published sizes need no file
    plain, prematched = FRAMES[samples]
    assert encoder.frames(samples) == plain
    padding = encoder.alignment_padding(samples)
    assert 0 < padding <= 320
    assert encoder.frames(samples + padding) == prematched
    assert prematched == max(1, samples // 320)


def test_published_sizes():
    assert (WavLM().dim, WavLM().hop, WavLM().min_samples, WavLM().sample_rate) == (1024, 320, 400, 16000)
    assert WavLM("microsoft/wavlm-base-plus").dim == 768
    assert [WavLM().frames(n) for n in (0, 100, 399)] == [0, 0, 0]


def official_name(name: str) -> str:
    """A Hugging Face name as the official files spell it."""
    for pattern, official in [
        (r"conv_layers\.(\d+)\.conv", r"conv_layers.\1.0"),
        (r"conv_layers\.(\d+)\.layer_norm", r"conv_layers.\1.2.1"),
        (r"feature_projection\.layer_norm", "layer_norm"),
        (r"feature_projection\.projection", "post_extract_proj"),
        (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
        (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
        (r"pos_conv_embed\.conv", "pos_conv.0"),
        (r"attention\.gru_rel_pos_linear", "self_attn.grep_linear"),
        (r"attention\.gru_rel_pos_const", "self_attn.grep_a"),
        (r"attention\.rel_attn_embed", "self_attn.relative_attention_bias"),
        (r"\.attention\.", ".self_attn."),
        (r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
        (r"feed_forward\.intermediate_dense", "fc1"),
        (r"feed_forward\.output_dense", "fc2"),
        (r"masked_spec_embed", "mask_emb"),
    ]:
        name = re.sub(pattern, official, name)
    return name


def official_file(path: Path, kind: str) -> Path:
    """The weights of a tiny model in the layout of `WavLM-Large.pt`."""
    model = tiny_wavlm(kind)
    cfg = {
        "extractor_mode": "layer_norm" if kind == "large" else "default",
        "encoder_layers": 8,
        "encoder_embed_dim": 48,
        "encoder_ffn_embed_dim": 96,
        "encoder_attention_heads": 4,
        "activation_fn": "gelu",
        "layer_norm_first": kind == "large",
        "conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2",
        "conv_bias": False,
        "normalize": kind == "large",
        "conv_pos": 32,
        "conv_pos_groups": 4,
        "relative_position_embedding": True,
        "num_buckets": 40,
        "max_distance": 60,
        "gru_rel_pos": True,
    }
    tensors = {official_name(name): tensor for name, tensor in model.state_dict().items()}
    if kind == "base":
        tensors = {name.replace("conv_layers.0.2.1", "conv_layers.0.2"): tensor for name, tensor in tensors.items()}
    torch.save({"cfg": cfg, "model": tensors}, path)
    return path


@pytest.mark.parametrize("kind", ["large", "base"])
def test_the_official_layout(tmp_path, utterances, kind):
    encoder = WavLM(official_file(tmp_path / "WavLM-Tiny.pt", kind))
    assert (encoder.dim, encoder.hop, encoder.shape.depth) == (48, 320, 8)
    expected = hidden_states(tiny_wavlm(kind), utterances[0])
    torch.testing.assert_close(encoder(utterances[0][None]), expected[6], atol=1e-5, rtol=1e-5)
    assert encoder.fingerprint() == {"weights": weights.sha256(tmp_path / "WavLM-Tiny.pt")}


def test_folders_of_other_ages_and_heads(wavlm_folder, tmp_path, utterances):
    """A PyTorch file in place of safetensors, old names of the weight norm, the prefix of a model with a head."""
    folder = Path(shutil.copytree(wavlm_folder, tmp_path / "old"))
    tensors = weights.read_tensors(folder / "model.safetensors", str)
    (folder / "model.safetensors").unlink()
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, name in old.items():
        tensors = {"wavlm." + key.removeprefix("wavlm.").replace(new, name): value for key, value in tensors.items()}
    torch.save({**tensors, "lm_head.weight": torch.zeros(3, 48)}, folder / "pytorch_model.bin")
    wav = utterances[0][None]
    assert torch.equal(WavLM(folder)(wav), WavLM(wavlm_folder)(wav))


def test_building_is_cheap_and_loading_is_late(wavlm_folder, monkeypatch):
    encoder = WavLM(wavlm_folder, layer=2)
    with monkeypatch.context() as patch:
        patch.setattr(weights, "read_tensors", lambda *args: pytest.fail("weights were read"))
        assert (encoder.dim, encoder.frames(7040)) == (48, 21)
        assert encoder.network is None
    assert encoder.load() is encoder
    network = encoder.network
    assert encoder.load().network is network and encoder.load([1]).network is network
    assert len(encoder.load([5]).network.blocks) == 5
    assert not any(p.requires_grad for p in encoder.parameters())
    assert build(describe(encoder)).checkpoint == str(wavlm_folder)
    assert encoder.fingerprint() == {"weights": weights.sha256(wavlm_folder / "model.safetensors")}


def test_weights_go_where_the_encoder_was_sent(wavlm_folder, utterances):
    encoder = WavLM(wavlm_folder).double()
    feats = encoder(utterances[0][None].double())
    assert feats.dtype == torch.float64
    torch.testing.assert_close(feats.float(), WavLM(wavlm_folder)(utterances[0][None]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["autocast", "weights"])
def test_bfloat16_is_near(wavlm_pair, utterances, kind):
    expected = WavLM(wavlm_pair[1])(utterances[0][None])
    encoder = WavLM(wavlm_pair[1])
    if kind == "weights":
        encoder.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"):
        feats = encoder(utterances[0][None]).float()
    assert torch.nn.functional.cosine_similarity(feats, expected, dim=-1).min() > 0.98
    assert not torch.equal(feats, expected)


@pytest.mark.parametrize("layer", [-1, 9, 24])
def test_layers_that_do_not_exist(wavlm_folder, layer):
    with pytest.raises(VocolabError, match=rf"layer {layer}.*0 to 8"):
        WavLM(wavlm_folder, layer=layer).load()


class Evil:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_inside_is_refused_unopened(tmp_path, wavlm_folder):
    proof = tmp_path / "executed"
    torch.save({"cfg": {"encoder_layers": 8}, "model": {"x": Evil(proof)}}, tmp_path / "evil.pt")
    folder = Path(shutil.copytree(wavlm_folder, tmp_path / "folder"))
    (folder / "model.safetensors").unlink()
    torch.save({"x": Evil(proof)}, folder / "pytorch_model.bin")
    for checkpoint in (tmp_path / "evil.pt", folder):
        with pytest.raises(VocolabError, match="not only tensors|more than tensors") as raised:
            WavLM(checkpoint).load()
        assert "\n" not in str(raised.value)
    assert not proof.exists()


def damage(folder: Path, what: str) -> Path:
    """Break a model folder, or name another thing that is none; the message to expect is the key's in `DAMAGE`."""
    config = json.loads((folder / "config.json").read_text())
    if what == "other model":
        config["model_type"] = "hubert"
    elif what == "wrong sizes":
        config["hidden_size"] = 64
    elif what == "sizes that do not divide":
        config["num_attention_heads"] = 5
    elif what == "more layers than weights":
        config["num_hidden_layers"] = 20
    (folder / "config.json").write_text("{" if what == "broken config" else json.dumps(config))
    if what == "no weights":
        (folder / "model.safetensors").unlink()
    elif what == "no config":
        (folder / "config.json").unlink()
    elif what == "cut weights":
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    if what.endswith(".pt"):
        torch.save({"generator": {}}, folder / "generator.pt")
        (folder / "text.pt").write_text("no checkpoint")
        return folder / what
    return folder / "nowhere" if what == "nowhere" else folder


DAMAGE = {
    "nowhere": "no such checkpoint.*nowhere",
    "nowhere.pt": "no such checkpoint.*nowhere.pt",
    "text.pt": "not a checkpoint.*text.pt",
    "generator.pt": "not a WavLM checkpoint.*generator.*'cfg'",
    "no config": "no config.json",
    "broken config": "unreadable configuration",
    "other model": "a hubert model, not WavLM",
    "sizes that do not divide": "sizes do not divide",
    "wrong sizes": "has shape.*expected",
    "no weights": "no model.safetensors or pytorch_model.bin",
    "cut weights": "damaged weights",
    "more layers than weights": "lacks .* tensors",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_wrong_checkpoint_is_one_line(wavlm_folder, tmp_path, what):
    folder = Path(shutil.copytree(wavlm_folder, tmp_path / "model"))
    with pytest.raises(VocolabError, match=DAMAGE[what]) as raised:
        WavLM(damage(folder, what), layer=12 if what.startswith("more") else 6).load()
    assert "\n" not in str(raised.value)


def test_a_hub_model_comes_from_the_cache_without_network(wavlm_folder, monkeypatch, utterances):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *args: pytest.fail("the network was asked"))
    cached = lambda repository, name: str(wavlm_folder / name) if (wavlm_folder / name).exists() else None  # noqa: E731
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    wav = utterances[0][None]
    assert torch.equal(WavLM("someone/tiny-wavlm")(wav), WavLM(wavlm_folder)(wav))


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("offline"), ConnectionError("a proxy\nsays no")])
def test_a_hub_model_without_network_is_one_line(monkeypatch, error):
    def refuse(*args):
        raise error

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(VocolabError, match="cannot fetch a hub model.*microsoft/wavlm-large.*local") as raised:
        WavLM().load()
    assert "\n" not in str(raised.value)


def test_receptive_field():
    assert WavLMShape().receptive_field == 400
    assert WavLMShape().hop == 320
