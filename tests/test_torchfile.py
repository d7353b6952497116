"""Weights saved under the prefixes of DDP and torch.compile load as those without, wherever weights are read."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.pipelines import tiny
from vocolab import weights
from vocolab.checkpoints import load_lm, load_vocoder
from vocolab.codecs import EnCodec
from vocolab.encoders import Whisper
from vocolab.encoders.whisper import BUILT_IN
from vocolab.torchfile import bare_names, read_torch
from vocolab.vocoders import HiFiGAN

PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]


def under(prefix: str, state: dict) -> dict:
    return {prefix + name: value for name, value in state.items()}


def test_bare_names():
    plain = ["conv.weight", "module.bias"]  # a part that is called module
    assert bare_names(plain) == plain
    for prefix in PREFIXES:
        assert bare_names([prefix + name for name in plain[:1]]) == plain[:1]
        assert bare_names([prefix + name for name in plain]) == plain
    assert bare_names(["lm._orig_mod.ar.weight", "my_orig_mod.x"]) == ["lm.ar.weight", "my_orig_mod.x"]
    assert bare_names([]) == []


def test_what_else_a_file_holds_stays(tmp_path):
    content = {"module.x": torch.ones(1), "module.step": 7, "names": {"module.a": 1, "module.b": torch.ones(2)}, 3: [4]}
    torch.save(content, tmp_path / "a.pt")
    found = read_torch(tmp_path / "a.pt")
    assert list(found) == ["x", "module.step", "names", 3] and list(found["names"]) == ["module.a", "b"]


@pytest.fixture(scope="module")
def hifigan() -> HiFiGAN:
    return HiFiGAN(8, None, 16, (4, 2), (8, 4), 1, (3,), ((1, 3, 5),)).eval()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_official_generator(hifigan, tmp_path, prefix):
    torch.save({"generator": under(prefix, hifigan.state_dict())}, tmp_path / "g_1.pt")
    feats = torch.randn(1, 5, 8)
    assert torch.equal(load_vocoder(tmp_path / "g_1.pt").vocoder(feats), hifigan(feats))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_our_own_checkpoint(tmp_path, prefix, kind):
    lm, codec = tiny.language_model(), tiny.codec()
    path = tiny.write(tmp_path / "last.ckpt", lm, codec)
    content = torch.load(path, weights_only=True)
    state = under(prefix, content["state_dict"])
    if kind == "torch":
        torch.save(content | {"state_dict": state}, path)
    else:
        save_file(state, path, {"vocolab": json.dumps(content["vocolab"])})
    assert all(torch.equal(value, lm.state_dict()[name]) for name, value in load_lm(path).lm.state_dict().items())


def whisper(path: str) -> torch.Tensor:
    encoder = Whisper()
    encoder.weights_file = path
    return encoder(torch.linspace(-1, 1, 4000)[None])


def encodec(path: str) -> torch.Tensor:
    codec = EnCodec(path, bandwidth=0.6)
    codec.shape = tiny_shape(codec)
    return codec.encode(torch.linspace(-1, 1, 4000)[None])


def tiny_shape(codec: EnCodec):
    from vocolab.codecs.encodec import shape_of_config

    return shape_of_config(weights.read_json(codec.weights_file.with_name("config.json")), codec.weights_file)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_encoders_and_codecs(tmp_path, prefix):
    tiny.encodec(tmp_path)
    sources: dict[Callable, dict] = {whisper: load_file(BUILT_IN), encodec: load_file(tmp_path / "model.safetensors")}
    for number, (use, state) in enumerate(sources.items()):
        plain, wrapped = tmp_path / f"{number}.safetensors", tmp_path / f"{number}w.safetensors"
        torch_file = tmp_path / f"{number}w.bin"
        save_file(state, plain)
        save_file(under(prefix, state), wrapped)
        torch.save(under(prefix, state), torch_file)
        expected = use(plain)
        assert torch.equal(use(wrapped), expected) and torch.equal(use(torch_file), expected)
