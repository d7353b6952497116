"""Models as one file: what is in it, and that it speaks as before."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.pipelines import tiny
from tests.test_checkpoints import own_checkpoint, wavlm_generator
from vocolab import TTS
from vocolab.checkpoints import load_lm, load_vocoder
from vocolab.errors import VocolabError
from vocolab.export import consolidate, export_safetensors
from vocolab.lm import Condition
from vocolab.vocoders import Vocos

SHORT = {"max_ar_steps": 20}


@pytest.fixture(scope="module")
def exported(lm_checkpoint, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.safetensors"
    export_safetensors(lm_checkpoint, path)
    return path


def test_the_file_says_all_there_is_to_know(exported):
    with safe_open(exported, "pt") as file:
        card = json.loads(file.metadata()["vocolab"])
    assert (card["format"], card["kind"], card["symbols"]) == (1, "lm", tiny.SYMBOLS)
    assert card["languages"] == ["en"] and card["statistics"] == {"updates": 7, "tokens": 1234}
    assert card["lm"]["class_path"] == "vocolab.lm.split.Split" and card["codec"]["codebooks"]
    assert card["codec_licence"] == "" and card["exported_by"].startswith("vocolab ")


def test_only_safetensors_is_needed_for_the_weights(exported, lm_checkpoint):
    state, ours = load_file(exported), load_lm(lm_checkpoint).lm.state_dict()
    assert {name.split(".")[0] for name in state} == {"lm", "codec"}
    assert all(torch.equal(state[f"lm.{name}"], value) for name, value in ours.items())


def test_equal_logits(exported, lm_checkpoint):
    before, after = load_lm(lm_checkpoint).lm, load_lm(exported).lm
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (2, 3, 9), generator=generator)
    lengths = torch.tensor([9, 6])
    condition = Condition(
        torch.randint(0, 30, (2, 5), generator=generator), torch.tensor([5, 3]), codes[:, :, :4], torch.tensor([4, 2])
    )
    with torch.no_grad():
        assert torch.equal(before.ar.logits(condition, codes, lengths), after.ar.logits(condition, codes, lengths))
        losses = [lm.loss(condition, codes, lengths, torch.tensor([1, 2])).total for lm in (before, after)]
    assert torch.equal(*losses)


def test_it_speaks_the_same(exported, lm_checkpoint):
    wavs = [TTS.from_checkpoint(path)("hello", ref=tiny.OTHER[0], **SHORT) for path in (lm_checkpoint, exported)]
    assert torch.equal(*wavs)
    export_safetensors(exported, exported.with_name("again.safetensors"))
    assert exported.with_name("again.safetensors").read_bytes() == exported.read_bytes()


def test_how_it_was_prompted_comes_along(prefix_checkpoint, exported, tmp_path):
    export_safetensors(prefix_checkpoint, tmp_path / "model.safetensors")
    assert TTS.from_checkpoint(tmp_path / "model.safetensors").needs_ref_text
    assert not TTS.from_checkpoint(exported).needs_ref_text


def test_the_licence_of_weights_from_elsewhere(tmp_path):
    """EnCodec's are not in the file, and not for every purpose."""
    codec = tiny.encodec(tmp_path / "encodec")
    path = tiny.write(tmp_path / "last.ckpt", tiny.language_model(levels=2), codec)
    card = export_safetensors(path, tmp_path / "model.safetensors")
    assert card["codec_licence"] == "CC-BY-NC-4.0" and len(card["codec"]["weights"]) == 64
    assert not any(name.startswith("codec.") for name in load_file(tmp_path / "model.safetensors"))


def test_a_vocoder(tmp_path):
    vocoder = wavlm_generator().eval()
    path = own_checkpoint(tmp_path / "last.ckpt", vocoder)
    torch.save({"generator": vocoder.state_dict()}, tmp_path / "g_1.pt")
    feats = torch.randn(1, 5, vocoder.in_channels)
    for source in (path, tmp_path / "g_1.pt"):
        card = export_safetensors(source, tmp_path / "v.safetensors", overwrite=True)
        loaded = load_vocoder(tmp_path / "v.safetensors")
        assert card["kind"] == "vocoder" and loaded.meta["matching"]["topk"] == 4
        with torch.no_grad():
            assert torch.equal(loaded.vocoder(feats), vocoder(feats))


def test_half_precision_and_the_mean_of_two(tmp_path):
    first, second = (wavlm_generator().eval() for _ in range(2))
    with torch.no_grad():
        second.conv_post.bias += 0.5
    paths = [own_checkpoint(tmp_path / f"{i}.ckpt", vocoder) for i, vocoder in enumerate((first, second))]
    export_safetensors(paths[0], tmp_path / "mean.safetensors", average=paths[1])
    export_safetensors(paths[0], tmp_path / "half.safetensors", half=True)
    mean, half = (load_file(tmp_path / f"{name}.safetensors") for name in ("mean", "half"))
    for key, value in first.state_dict().items():
        assert torch.allclose(mean[f"vocoder.{key}"], (value + second.state_dict()[key]) / 2)
        assert torch.equal(half[f"vocoder.{key}"], value.half())
    assert next(load_vocoder(tmp_path / "half.safetensors").vocoder.parameters()).dtype == torch.float32


def test_unlike_models_have_no_mean(tmp_path, lm_checkpoint):
    path = own_checkpoint(tmp_path / "v.ckpt", wavlm_generator())
    other = own_checkpoint(tmp_path / "o.ckpt", Vocos(12, 16, 1, 16))
    with pytest.raises(VocolabError, match="another vocoder, or one of other sizes"):
        export_safetensors(path, tmp_path / "x.safetensors", average=other)
    with pytest.raises(VocolabError, match="only vocoders are averaged"):
        export_safetensors(lm_checkpoint, tmp_path / "x.safetensors", average=path)
    assert not (tmp_path / "x.safetensors").exists()


def test_what_is_refused(tmp_path, lm_checkpoint, exported):
    target = tmp_path / "x.safetensors"
    with pytest.raises(VocolabError, match="output exists"):
        export_safetensors(lm_checkpoint, exported)
    content = torch.load(lm_checkpoint, weights_only=True)
    del content["state_dict"]["lm.ar.sep"]
    torch.save(content, tmp_path / "bad.ckpt")
    with pytest.raises(VocolabError, match="1 tensors missing"):
        export_safetensors(tmp_path / "bad.ckpt", target)
    torch.save({"state_dict": {}}, tmp_path / "none.ckpt")
    with pytest.raises(VocolabError, match="holds no vocoder"):
        export_safetensors(tmp_path / "none.ckpt", target)
    whole = exported.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VocolabError, match="damaged checkpoint: .*cut.safetensors: copy or download it again"):
        TTS.from_checkpoint(tmp_path / "cut.safetensors")
    assert not target.exists()


# DeepSpeed


def zero_folder(folder: Path, checkpoint: Path, ranks: int = 2) -> Path:
    """A checkpoint as DeepSpeed writes it at ZeRO stage 2: bf16 weights, and a part of their fp32 originals a rank."""
    content = torch.load(checkpoint, weights_only=True)
    state = {name: value for name, value in content.pop("state_dict").items() if name.startswith("lm.")}
    others = {n: v for n, v in torch.load(checkpoint, weights_only=True)["state_dict"].items() if n not in state}
    flat = torch.cat([value.float().flatten() for value in state.values()])
    size = -(-len(flat) // (2 * ranks)) * 2  # what DeepSpeed pads to
    flat = torch.nn.functional.pad(flat, (0, size * ranks - len(flat)))
    parts = folder / "checkpoint"
    parts.mkdir(parents=True)
    (folder / "latest").write_text("checkpoint")
    model = {
        **content,
        "module": {name: value.bfloat16() for name, value in state.items()} | others,
        "buffer_names": list(others),
        "param_shapes": [{name: value.shape for name, value in state.items()}],
        "frozen_param_shapes": None,
        "frozen_param_fragments": None,
        "shared_params": {},
        "ds_version": "0.19.8",
    }
    torch.save(model, parts / "mp_rank_00_model_states.pt")
    for rank in range(ranks):
        part = flat[rank * size : (rank + 1) * size].clone()
        optimizer = {"zero_stage": 2, "partition_count": ranks, "single_partition_of_fp32_groups": [part]}
        torch.save({"optimizer_state_dict": optimizer}, parts / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return folder


def test_a_folder_of_deepspeed(tmp_path, lm_checkpoint):
    """All ranks' parts are put together, in full precision."""
    pytest.importorskip("deepspeed")
    folder = zero_folder(tmp_path / "last.ckpt", lm_checkpoint)
    export_safetensors(folder, tmp_path / "model.safetensors")
    ours, theirs = load_lm(lm_checkpoint), load_lm(tmp_path / "model.safetensors")
    for before, after in ((ours.lm, theirs.lm), (ours.codec, theirs.codec)):
        before, after = before.state_dict(), after.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
    (folder / "checkpoint" / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(VocolabError, match="cannot be put together .*: copy the whole folder again"):
        consolidate(folder)


@pytest.fixture
def reader(monkeypatch):
    """In place of DeepSpeed's own reader of its folders, where it is not installed."""
    module = types.ModuleType("deepspeed.utils.zero_to_fp32")
    package, utils = types.ModuleType("deepspeed"), types.ModuleType("deepspeed.utils")
    package.utils, utils.zero_to_fp32 = utils, module
    for name, value in (("", package), (".utils", utils), (".utils.zero_to_fp32", module)):
        monkeypatch.setitem(sys.modules, f"deepspeed{name}", value)
    return module


def test_what_deepspeed_gives_is_exported(tmp_path, lm_checkpoint, reader, capsys):
    state = torch.load(lm_checkpoint, weights_only=True)["state_dict"]

    def read(folder):
        print("Processing zero checkpoint")
        return {f"_forward_module.{name}": value for name, value in state.items()}

    reader.get_fp32_state_dict_from_zero_checkpoint = read
    reader.get_model_state_files = lambda parts: sorted(str(path) for path in Path(parts).glob("*_model_states.pt"))
    folder = zero_folder(tmp_path / "last.ckpt", lm_checkpoint)
    export_safetensors(folder, tmp_path / "model.safetensors")
    assert capsys.readouterr().out == ""
    ours, theirs = load_lm(lm_checkpoint).lm.state_dict(), load_lm(tmp_path / "model.safetensors").lm.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_folders_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(VocolabError, match="a folder, not a checkpoint"):
        export_safetensors(tmp_path, tmp_path / "x.safetensors")
    (tmp_path / "latest").write_text("checkpoint")
    monkeypatch.delitem(sys.modules, "deepspeed.utils", raising=False)
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(VocolabError, match=r"the package deepspeed is missing: .*: pip install 'vocolab\[deepspeed\]'"):
        export_safetensors(tmp_path, tmp_path / "x.safetensors")
