"""ONNX files: equal to the models in onnxruntime, and usable without PyTorch."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.pipelines import tiny
from tests.test_checkpoints import own_checkpoint, wavlm_generator
from vocolab import KNNVC, TTS
from vocolab.errors import VocolabError
from vocolab.export import export_onnx
from vocolab.export.graph import TOLERANCE, Graph, _check
from vocolab.lm import AR, NAR, MedusaHeads, Split, Unified
from vocolab.lm.backbones import BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.vocoders import BigVGAN, HiFiGAN, LayerWeights, Vocos

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

DOCS = Path(__file__).parents[2] / "docs" / "onnx.md"
STEPS = 12


def example(word: str) -> str:
    """The program in docs/onnx.md that holds `word`."""
    found = [code for code in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if word in code]
    assert len(found) == 1 and "torch" not in found[0] and "vocolab" not in found[0]
    return found[0]


def test_conversion_with_numpy_alone(tmp_path, monkeypatch):
    """The program in the docs, on features of real speech."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    vocoder = Vocos(80, dim=16, blocks=1, hidden=16)
    with torch.no_grad():
        vocoder.head.weight *= 20  # so that the waveform is not all but silent
    vc = KNNVC.from_checkpoint(own_checkpoint(Path("last.ckpt"), vocoder))
    mel = tiny.codec().log_mel
    source, pool = (mel(tiny.audio.read(path, 16000)[0][None])[0].T for path in (tiny.SPEECH[0], tiny.OTHER[0]))
    np.save("source.npy", source.numpy())
    np.save("voice.npy", pool.numpy())
    differences = export_onnx("last.ckpt", "converter")
    assert sorted(differences) == ["conversion.onnx", "vocoder.onnx"] and max(differences.values()) < TOLERANCE
    names: dict = {}
    exec(example("conversion.onnx"), names)
    wav = vc.match(source, pool, tgt_loudness_db=None).numpy()
    assert names["waveform"].shape == (1, 320 * len(source)) and np.abs(wav).max() > 0.01
    assert np.abs(names["waveform"][0] - wav).max() < 1e-4
    assert json.loads(Path("converter/config.json").read_text())["matching"]["topk"] == 4
    rows = np.stack([source.numpy()[n : n + 30] for n in (0, 7)])
    found = onnxruntime.InferenceSession("converter/vocoder.onnx").run(None, {"features": rows})[0]
    with torch.no_grad():
        assert np.abs(found - vocoder.eval()(torch.from_numpy(rows)).numpy()).max() < 1e-4


def test_greedy_speech_with_numpy_alone(tmp_path, monkeypatch):
    """The program in the docs says the codes, and makes the sound, that `TTS` does at temperature 0."""
    monkeypatch.chdir(tmp_path)
    lm = tiny.language_model()
    for part in (lm.ar, lm.nar):
        part.backbone.position_scale.data.fill_(2.0)  # so that it does not say one code for ever
    checkpoint = tiny.write(tmp_path / "last.ckpt", lm, tiny.codec())
    tts = TTS.from_checkpoint(checkpoint)
    read, prompt = tts.read(["hello you"]), tts.get_prompt([tiny.OTHER[0]])
    np.save("text.npy", np.array(read))
    np.save("prompt.npy", prompt.codes[None].numpy())
    differences = export_onnx(checkpoint, "model")
    assert sorted(differences) == ["ar.onnx", "decoder.onnx", "nar.onnx"] and max(differences.values()) < TOLERANCE
    names: dict = {}
    exec(example("ar.onnx").replace("range(900)", f"range({STEPS})"), names)
    greedy = tts.sampling(ar_temp=0, nar_temp=0, max_ar_steps=STEPS)
    spoken = next(tts.speak(read, prompt, greedy))
    assert spoken.codes.shape[1] > 1 and len(spoken.codes.unique()) > 1
    assert np.array_equal(names["codes"][0], spoken.codes.numpy())
    wav = tts.codec.decode(spoken.codes[None]).numpy()
    assert np.abs(wav).max() > 0.01 and np.abs(names["waveform"] - wav).max() < 1e-4
    heard, rate = soundfile.read("out.wav", dtype="float32")
    assert rate == tts.sample_rate and np.abs(heard - wav[0]).max() < 1e-3
    card = onnxruntime.InferenceSession("model/ar.onnx").get_modelmeta().custom_metadata_map["vocolab"]
    assert json.loads(card) == json.loads(Path("model/config.json").read_text())


SMALL = {"upsample_rates": (4, 2), "upsample_kernels": (8, 4)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "vocoder",
    [
        lambda: HiFiGAN(12, 8, 16, **SMALL),
        lambda: HiFiGAN(12, None, 16, resblock=2, resblock_dilations=((1, 2), (2, 6), (3, 12)), **SMALL),
        lambda: wavlm_generator().fold(),
        lambda: BigVGAN(12, 8, 16, **SMALL),
        lambda: BigVGAN(12, None, 16, activation="snake", final_tanh=False, final_bias=False, **SMALL),
        lambda: Vocos(12, 16, 2, 16, n_fft=45, hop=15),
        lambda: LayerWeights(Vocos(12, 16, 2, 16), 24),
    ],
    ids=["hifigan", "hifigan-v3", "folded", "bigvgan", "bigvgan-v2", "vocos-odd", "layers"],
)
def test_vocoders(vocoder, tmp_path):
    """The export compares by itself, at several lengths and batches."""
    torch.manual_seed(0)
    made = vocoder()
    if "conv_pre.weight" in made.state_dict():
        torch.save({"generator": made.state_dict()}, tmp_path / "last.ckpt")
    else:
        own_checkpoint(tmp_path / "last.ckpt", made)
    assert export_onnx(tmp_path / "last.ckpt", tmp_path / "out.onnx")["out.onnx"] < TOLERANCE
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "out.onnx"]


SIZES = {"levels": 3, "size": 16, "symbols": 64}


@pytest.mark.slow
@pytest.mark.parametrize(
    "lm, files",
    [
        (lambda: Split(AR(Llama(32, 2, 2), **SIZES), NAR(Llama(32, 2, 2), **SIZES)), ["ar.onnx", "nar.onnx"]),
        (lambda: Unified(Mixtral(32, 2, 2, experts=4), **SIZES, languages=2), ["ar.onnx", "nar.onnx"]),
        (lambda: Unified(Transformer(32, 2, 2, adaptive_levels=3), **SIZES), ["ar.onnx", "nar.onnx"]),
        (lambda: AR(Transformer(32, 2, 2), **SIZES, window=6), ["ar.onnx"]),
        (lambda: AR(Llama(32, 2, 2), **SIZES, window=6, drafts=MedusaHeads(2)), ["ar.onnx"]),
        (lambda: NAR(Transformer(32, 2, 2), **SIZES, voice_summary=True), ["nar.onnx"]),
    ],
    ids=["llama", "mixtral", "adaptive", "window", "llama-window-drafts", "nar"],
)
def test_language_models(lm, files, tmp_path):
    """The export compares by itself: begun and continued, at several lengths and batches."""
    torch.manual_seed(0)
    path = tiny.write(tmp_path / "last.ckpt", lm().eval(), tiny.codec())
    differences = export_onnx(path, tmp_path / "out")
    assert list(differences) == [*files, "decoder.onnx"] and max(differences.values()) < TOLERANCE
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*files, "decoder.onnx", "config.json"}


@pytest.mark.slow
def test_a_codec_whose_weights_are_elsewhere_is_left_out(tmp_path):
    """It is not even read: its weights may be on another machine."""
    codec = tiny.encodec(tmp_path / "encodec")
    path = tiny.write(tmp_path / "last.ckpt", tiny.language_model(levels=2), codec)
    shutil.rmtree(tmp_path / "encodec")
    assert list(export_onnx(path, tmp_path / "out")) == ["ar.onnx", "nar.onnx"]


@pytest.mark.parametrize(
    "backbone, why",
    [(RetNet, "RetNet does not decode by attention"), (BitNet, "BitNet rounds its activations")],
)
def test_backbones_that_are_refused(backbone, why, tmp_path):
    path = tiny.write(tmp_path / "last.ckpt", AR(backbone(32, 2, 1), **SIZES), tiny.codec())
    with pytest.raises(VocolabError, match=f"{why}.*: .*last.ckpt: use --format safetensors"):
        export_onnx(path, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_is_refused(lm_checkpoint, tmp_path, monkeypatch):
    path = own_checkpoint(tmp_path / "last.ckpt", Vocos(12, 16, 1, 16))
    with pytest.raises(VocolabError, match="a language model is several graphs: .*m.onnx: name a folder with -o"):
        export_onnx(lm_checkpoint, tmp_path / "m.onnx")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "old.onnx").touch()
    for name, why in (("full", "folder is not empty"), ("old.onnx", "output exists"), ("last.ckpt", "a file, not a")):
        with pytest.raises(VocolabError, match=why):
            export_onnx(path, tmp_path / name)

    def fail(*args):
        raise VocolabError("another result", "x", "y")

    monkeypatch.setattr("vocolab.export.onnx.write_graph", fail)
    for name in ("new", "new.onnx"):
        with pytest.raises(VocolabError, match="another result"):
            export_onnx(path, tmp_path / name)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(VocolabError, match=r"the package onnxscript is missing: .*pip install 'vocolab\[onnx\]'"):
        export_onnx(path, tmp_path / "new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["full", "last.ckpt", "old.onnx"]


@pytest.mark.parametrize("wrong", [0.0, 5e-5, 2e-4, float("nan")])
def test_a_file_that_computes_something_else_is_refused(wrong, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    kind = TensorProto.FLOAT
    tensors = [helper.make_tensor_value_info(name, kind, [None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(tmp_path / "x.onnx"))
    x = torch.tensor([0.5, -torch.inf])

    def pairs(run):
        yield run({"x": x})[0], x + wrong

    held = Graph(torch.nn.Identity(), {"x": x}, ("y",), {}, pairs)
    if wrong < TOLERANCE:
        assert _check(held, tmp_path / "x.onnx", "here") == pytest.approx(wrong, abs=1e-6)
    else:
        with pytest.raises(VocolabError, match="onnxruntime is .* from the model.*: here: use --format safetensors"):
            _check(held, tmp_path / "x.onnx", "here")
