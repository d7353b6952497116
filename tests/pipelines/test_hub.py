"""kNN-VC's entry points on torch.hub, with small models in the place of the release's."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import pytest
import torch

from tests.encoders.test_wavlm import official_file
from tests.test_checkpoints import SMALL
from vocolab import remote
from vocolab.encoders import WavLM
from vocolab.pipelines import KNNVC, hub
from vocolab.vocoders import HiFiGAN

ROOT = Path(__file__).parents[2]


@pytest.fixture
def release(tmp_path, server, monkeypatch):
    """A server with a small release; the working directory and torch.hub's folder are empty."""
    handler, url = server
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    official_file(tmp_path / "WavLM-Large.pt", "large")
    for seed, name in enumerate(("prematch_g_02500000.pt", "g_02500000.pt")):
        torch.manual_seed(seed)
        torch.save({"generator": HiFiGAN(48, 16, **SMALL).state_dict()}, tmp_path / name)
    handler.files = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in handler.files.items()}
    monkeypatch.setattr(remote, "FILES", digests)
    monkeypatch.setattr(remote, "RELEASE", url)
    return handler


def test_the_arguments_are_those_of_knn_vc():
    def signature(function) -> dict:
        return {name: p.default for name, p in inspect.signature(function).parameters.items()}

    everything = {"pretrained": True, "progress": True, "prematched": True, "device": "cuda"}
    assert signature(hub.knn_vc) == signature(hub.hifigan_wavlm) == everything
    del everything["prematched"]
    assert signature(hub.wavlm_large) == everything


@pytest.mark.parametrize("prematched", [True, False])
def test_torch_hub_loads_what_a_clone_has(release, speech_folder, prematched, tmp_path):
    files = sorted(speech_folder.rglob("*.opus"))
    vc = torch.hub.load(str(ROOT), "knn_vc", source="local", prematched=prematched, progress=False, device="cpu")
    name = "prematch_g_02500000.pt" if prematched else "g_02500000.pt"
    expected = KNNVC.from_checkpoint(tmp_path / name, tmp_path / "WavLM-Large.pt")
    query, reference = vc.get_features(files[0]), vc.get_matching_set(files[4:6])
    assert torch.equal(query, expected.get_features(files[0]))
    assert torch.equal(vc.match(query, reference, topk=4), expected.match(query, reference))
    with torch.inference_mode():
        assert torch.allclose(vc.vocode(query[None]), vc.hifigan(query[None]), atol=1e-6)
    assert torch.equal(vc.wavlm.layers(torch.ones(1, 400))[0], expected.encoder(torch.ones(1, 400)))
    assert (vc.sr, vc.hop_length, vc.training, len(release.ranges)) == (16000, 320, False, 2)


def test_the_vocoder_comes_with_its_settings(release):
    hifigan, settings = hub.hifigan_wavlm(progress=False, device="cpu")
    assert "conv_pre.weight" in hifigan.state_dict() and not hifigan.training
    assert settings.sampling_rate == settings["sampling_rate"] == 16000
    assert (settings.hubert_dim, settings.hifi_dim, settings.upsample_rates) == (48, 16, [10, 8, 2, 2])
    assert not hasattr(settings, "none")


@pytest.mark.parametrize("progress", [True, False])
def test_progress(release, capsys, progress):
    hub.wavlm_large(progress=progress, device="cpu")
    assert ("fetching http" in capsys.readouterr().err) == progress


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_computes_on_the_cpu_and_says_so(release, caplog):
    hifigan, _ = hub.hifigan_wavlm(progress=False)
    assert next(hifigan.parameters()).device.type == "cpu"
    assert [record.message for record in caplog.records] == ["no GPU here: computing on the CPU instead of cuda"]


def test_nothing_is_fetched_for_random_weights(release, monkeypatch):
    small = WavLM(official_file(Path("own.pt"), "large"))
    monkeypatch.setattr(WavLM, "shape", small.shape)
    monkeypatch.setattr(hub, "HiFiGAN", lambda: HiFiGAN(48, 16, **SMALL))
    vc = hub.knn_vc(pretrained=False, device="cpu")
    feats = vc.wavlm.layers(torch.randn(1, 4000), layers=[0, 8])[1]
    assert feats.isfinite().all() and feats.std() > 0.1
    assert vc.vocode(feats).shape == (1, 320 * feats.shape[1])
    assert release.ranges == []
