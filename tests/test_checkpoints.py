"""Model files: ours, the official layouts, and files that are neither."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from vocolab.checkpoints import export_hifigan, load_vocoder, load_weights, official_names, read_checkpoint
from vocolab.errors import VocolabError
from vocolab.parts import describe
from vocolab.torchfile import read_torch
from vocolab.vocoders import BigVGAN, Ensemble, HiFiGAN, MultiPeriodDiscriminator, MultiScaleDiscriminator, Vocos

SMALL = {"channels": 32, "upsample_rates": (10, 8, 2, 2), "upsample_kernels": (20, 16, 4, 4)}
SMALL_MPD = {"periods": (2, 3), "channels": (4, 8)}
SMALL_MSD = {"scales": 2, "channels": (4, 8), "kernels": (15, 5), "strides": (1, 2), "groups": (1, 2)}


def wavlm_generator() -> HiFiGAN:
    return HiFiGAN(in_channels=24, projection=16, **SMALL)


def own_checkpoint(path: Path, vocoder: nn.Module, kind="vocoder", format=1, described=None) -> Path:
    meta = {
        "format": format,
        "kind": kind,
        "encoder": None,
        "matching": {"topk": 4, "matching_layer": 6, "synthesis_layer": 6},
        "sample_rate": vocoder.sample_rate,
        "hop": vocoder.hop,
        "vocoder": described or describe(vocoder),
    }
    state = {f"vocoder.{key}": value for key, value in vocoder.state_dict().items()}
    state["discriminator.x"] = torch.zeros(1)
    torch.save({"state_dict": state, "vocolab": meta, "global_step": 7}, path)
    return path


def with_parametrizations(state: dict) -> dict:
    """The same weights under the names that torch's parametrizations give."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    renamed = {}
    for key, value in state.items():
        stem, _, last = key.rpartition(".")
        renamed[f"{stem}.{names.get(last, last)}"] = value
    return renamed


def equal(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("vocoder", [wavlm_generator(), Vocos(12, 16, 2, 32)], ids=["hifigan", "vocos"])
def test_own_checkpoint(tmp_path, vocoder):
    found = load_vocoder(own_checkpoint(tmp_path / "last.ckpt", vocoder))
    assert equal(found.vocoder.state_dict(), vocoder.state_dict())
    assert describe(found.vocoder) == describe(vocoder)
    assert not found.vocoder.training
    assert found.meta["matching"]["topk"] == 4
    feats = torch.randn(1, 5, vocoder.in_channels)
    with torch.no_grad():
        assert torch.equal(found.vocoder(feats), vocoder.eval()(feats))


@pytest.mark.parametrize("name", ["g_02500000.pt", "prematch_g_02500000.pt"])
def test_official_round_trip(tmp_path, name):
    """official -> ours -> official: the same tensors under the same names in the same order."""
    state = wavlm_generator().state_dict()
    torch.save({"generator": state}, tmp_path / name)
    found = load_vocoder(tmp_path / name)
    assert found.vocoder.in_channels == 24 and found.vocoder.projection == 16
    assert (found.meta["sample_rate"], found.meta["hop"], found.meta["encoder"]) == (16000, 320, None)
    export_hifigan(found.vocoder, tmp_path / "g_again.pt")
    again = torch.load(tmp_path / "g_again.pt", weights_only=True)
    assert list(again) == ["generator"]
    assert equal(again["generator"], state)


def test_the_order_of_the_official_file(tmp_path):
    """Of each convolution the bias, the magnitude, the direction; `lin_pre` has its weight first."""
    export_hifigan(wavlm_generator(), tmp_path / "g.pt")
    keys = list(torch.load(tmp_path / "g.pt", weights_only=True)["generator"])
    blocks = [f"resblocks.{n}.{c}.{i}" for n in range(12) for c in ("convs1", "convs2") for i in range(3)]
    convolutions = ["conv_pre", *(f"ups.{i}" for i in range(4)), *blocks, "conv_post"]
    expected = ["lin_pre.weight", "lin_pre.bias"]
    assert keys == expected + [f"{c}.{part}" for c in convolutions for part in ("bias", "weight_g", "weight_v")]


def test_a_folded_vocoder_gets_its_weight_norm_back(tmp_path):
    """Under the same keys, and it speaks as before; a filter of zeros stays one."""
    generator = wavlm_generator().eval()
    with torch.no_grad():
        generator.conv_pre.weight_g[3] = 0
    keys, feats = list(generator.state_dict()), torch.randn(1, 4, 24)
    generator.fold()
    export_hifigan(generator, tmp_path / "g.pt")
    assert list(torch.load(tmp_path / "g.pt", weights_only=True)["generator"]) == keys
    with torch.no_grad():
        assert torch.allclose(load_vocoder(tmp_path / "g.pt").vocoder(feats), generator(feats), atol=1e-7)
    assert load_vocoder(tmp_path / "g.pt").vocoder.conv_pre.kernel()[3].abs().max() == 0


def test_names_of_parametrizations_are_read(tmp_path):
    state = wavlm_generator().state_dict()
    torch.save({"generator": with_parametrizations(state)}, tmp_path / "g_new.pt")
    assert equal(load_vocoder(tmp_path / "g_new.pt").vocoder.state_dict(), state)


def test_official_names_of_torchs_own_modules():
    """Modules normed by torch's parametrizations, weight and spectral, get the names its older hooks gave."""
    old = nn.Sequential(nn.utils.weight_norm(nn.Conv1d(3, 4, 5)), nn.utils.spectral_norm(nn.Conv1d(4, 2, 3)))
    new = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 5)),
        nn.utils.parametrizations.spectral_norm(nn.Conv1d(4, 2, 3)),
    )
    old.load_state_dict(official_names(new.state_dict()))


def test_official_file_without_weight_norm(tmp_path):
    generator = wavlm_generator().eval()
    feats = torch.randn(1, 4, 24)
    with torch.no_grad():
        wav = generator(feats)
        torch.save({"generator": generator.fold().state_dict()}, tmp_path / "g_folded.pt")
        assert torch.equal(load_vocoder(tmp_path / "g_folded.pt").vocoder(feats), wav)


@pytest.mark.parametrize(
    ("sizes", "rate"),
    [
        ({"in_channels": 80, "projection": None, "channels": 512}, 22050),
        ({"in_channels": 80, "projection": None, "channels": 128}, 22050),
        (
            {
                "in_channels": 80,
                "projection": None,
                "channels": 256,
                "upsample_rates": (8, 8, 4),
                "upsample_kernels": (16, 16, 8),
                "resblock": 2,
                "resblock_kernels": (3, 5, 7),
                "resblock_dilations": ((1, 2), (2, 6), (3, 12)),
            },
            22050,
        ),
    ],
    ids=["V1", "V2", "V3"],
)
def test_original_hifigan_sizes_come_from_the_shapes(tmp_path, sizes, rate):
    generator = HiFiGAN(**{"upsample_rates": (8, 8, 2, 2), "upsample_kernels": (16, 16, 4, 4)} | sizes)
    torch.save({"generator": generator.state_dict()}, tmp_path / "generator_v")
    found = load_vocoder(tmp_path / "generator_v").vocoder
    assert describe(found)["init_args"] == describe(generator)["init_args"] | {"sample_rate": rate}
    assert equal(found.state_dict(), generator.state_dict())


def test_official_config_beside_decides(tmp_path):
    generator = HiFiGAN(80, None, 32, upsample_rates=(5, 4), upsample_kernels=(9, 8), sample_rate=24000)
    torch.save({"generator": generator.state_dict()}, tmp_path / "g_00000001")
    dilations = [list(d) for d in generator.resblock_dilations]
    config = {"upsample_rates": [5, 4], "resblock_dilation_sizes": dilations, "sampling_rate": 24000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = load_vocoder(tmp_path / "g_00000001").vocoder
    assert describe(found) == describe(generator)


def official_bigvgan(state: dict) -> dict:
    """The same weights as NVIDIA's files have them: filters beside every activation, each upsampling in a list."""
    renamed = {re.sub(r"^(ups\.\d+)\.", r"\1.0.", key): value for key, value in state.items()}
    acts = {key.partition(".act.")[0] for key in state if ".act." in key}
    return renamed | {f"{act}.{name}.filter": torch.zeros(12) for act in acts for name in ("upsample", "downsample")}


@pytest.mark.parametrize(("bands", "rate"), [(80, 22050), (100, 24000), (128, 44100)])
@pytest.mark.parametrize("version", [1, 2])
def test_published_bigvgan_sizes_come_from_the_shapes(tmp_path, bands, rate, version):
    first = version == 1
    stages = {"upsample_rates": (4, 2, 2), "upsample_kernels": (8, 4, 4)}
    generator = BigVGAN(bands, None, 32, **stages, final_tanh=first, final_bias=first, sample_rate=rate)
    state = official_bigvgan(generator.state_dict() if first else generator.fold().state_dict())
    torch.save({"generator": with_parametrizations(state)}, tmp_path / "bigvgan_generator.pt")
    found = load_vocoder(tmp_path / "bigvgan_generator.pt").vocoder
    assert describe(found) == describe(generator)
    mels = torch.randn(1, 3, bands)
    with torch.no_grad():
        assert torch.equal(found(mels), generator(mels))
    (tmp_path / "config.json").write_text(json.dumps({"upsample_rates": [4, 2, 2], "sampling_rate": 32000}))
    assert load_vocoder(tmp_path / "bigvgan_generator.pt").vocoder.sample_rate == 32000


def test_a_bigvgan_of_snake_is_known_by_its_weights(tmp_path):
    generator = BigVGAN(8, 16, 32, (4, 2), (8, 4), activation="snake")
    torch.save({"generator": official_bigvgan(generator.state_dict())}, tmp_path / "g_00000001")
    assert load_vocoder(tmp_path / "g_00000001").vocoder.activation == "snake"


class Task(nn.Module):
    def __init__(self, vocoder: nn.Module, discriminator: nn.Module):
        super().__init__()
        self.vocoder, self.discriminator = vocoder, discriminator


def small_task() -> Task:
    members = [MultiPeriodDiscriminator(**SMALL_MPD), MultiScaleDiscriminator(**SMALL_MSD)]
    return Task(wavlm_generator(), Ensemble(members))


def test_load_weights_from_each_kind(tmp_path):
    source = small_task()
    torch.save({"generator": source.vocoder.state_dict()}, tmp_path / "g_1.pt")
    mpd, msd = source.discriminator.members
    torch.save({"mpd": mpd.state_dict(), "msd": msd.state_dict(), "optim_d": {}, "steps": 1}, tmp_path / "do_1.pt")
    torch.save({"state_dict": source.state_dict()}, tmp_path / "own.ckpt")

    target = small_task()
    assert load_weights(target, tmp_path / "g_1.pt") == ["vocoder"]
    assert equal(target.vocoder.state_dict(), source.vocoder.state_dict())
    assert not equal(target.discriminator.state_dict(), source.discriminator.state_dict())
    assert load_weights(target, tmp_path / "do_1.pt") == ["discriminator"]
    assert equal(target.state_dict(), source.state_dict())
    target = small_task()
    assert load_weights(target, tmp_path / "own.ckpt") == ["vocoder", "discriminator"]
    assert equal(target.state_dict(), source.state_dict())


def test_discriminators_of_official_size_load_by_name():
    """The official tensors: 90 of MPD, 80 of MSD, spectral norm in MSD's first network alone."""
    mpd, msd = MultiPeriodDiscriminator().state_dict(), MultiScaleDiscriminator().state_dict()
    assert (len(mpd), len(msd)) == (90, 80)
    assert mpd["discriminators.4.convs.3.weight_v"].shape == (1024, 512, 5, 1)
    assert mpd["discriminators.0.conv_post.weight_g"].shape == (1, 1, 1, 1)
    sizes = [len(msd[f"discriminators.0.convs.{i}.weight_v"]) for i in range(7)]
    assert sizes == [15, 1312, 328, 656, 1312, 2624, 5120]
    assert len(msd["discriminators.0.conv_post.weight_v"]) == 3072
    assert msd["discriminators.2.convs.2.weight_v"].shape == (256, 8, 41)
    names = [key.rpartition(".")[2] for key in msd if key.startswith("discriminators.0.convs.0.")]
    assert names == ["bias", "weight_orig", "weight_u", "weight_v"]


class Malicious:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_pickle_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, new in (("zip.pt", True), ("old.pt", False)):
        torch.save({"generator": Malicious()}, name, _use_new_zipfile_serialization=new)
        with pytest.raises(VocolabError, match="not only tensors|more than tensors") as error:
            read_torch(tmp_path / name)
        assert "can run any code" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"RIFF..WAVE", b"PK\x03\x04 no zip", bytes(99), b"\x80\x02noise"])
def test_no_checkpoint(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(VocolabError, match="not a checkpoint|cut short|damaged") as error:
        read_torch(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
def test_truncated(tmp_path, keep):
    path = own_checkpoint(tmp_path / "last.ckpt", wavlm_generator())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(VocolabError, match="cut short"):
        load_vocoder(path)


def test_damaged_inside(tmp_path):
    path = own_checkpoint(tmp_path / "last.ckpt", wavlm_generator())
    whole = bytearray(path.read_bytes())
    for at in range(40, len(whole) // 2, 97):
        whole[at] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(VocolabError):
        load_vocoder(path)


def test_other_content_is_one_line(tmp_path):
    path, vocoder = tmp_path / "x.ckpt", wavlm_generator()
    cases = {
        "no such checkpoint": lambda: path.unlink(missing_ok=True),
        "holds a Tensor": lambda: torch.save(torch.zeros(2), path),
        "holds no vocoder": lambda: torch.save({"state_dict": {}}, path),
        "holds discriminators": lambda: torch.save({"mpd": {}, "msd": {}}, path),
        "kind 'lm'": lambda: own_checkpoint(path, vocoder, kind="lm"),
        "format 9": lambda: own_checkpoint(path, vocoder, format=9),
        "no such class": lambda: own_checkpoint(path, vocoder, described={"class_path": "os.system"}),
        "tensors missing": lambda: torch.save({"generator": vocoder.state_dict() | {"x": torch.zeros(1)}}, path),
        "no conv_pre": lambda: torch.save({"generator": {"x": torch.zeros(1)}}, path),
        "expected": lambda: own_checkpoint(path, vocoder, described=describe(HiFiGAN(24, 16, 64))),
    }
    for words, write in cases.items():
        write()
        with pytest.raises(VocolabError, match=words) as error:
            load_vocoder(path)
        assert str(path) in str(error.value) or words == "no such class"
        assert "\n" not in str(error.value)


def test_export_refuses(tmp_path):
    with pytest.raises(VocolabError, match="no official layout"):
        export_hifigan(Vocos(12, dim=16, blocks=1, hidden=32), tmp_path / "g.pt")
    export_hifigan(wavlm_generator(), tmp_path / "g.pt")
    with pytest.raises(VocolabError, match="exists"):
        export_hifigan(wavlm_generator(), tmp_path / "g.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["g.pt"]


@pytest.mark.parametrize(
    "file, line",
    [
        ("checkpoints/last.ckpt", "a run's folder, not a checkpoint: .*place: give .*place/checkpoints/last.ckpt"),
        ("last.ckpt", "a run's folder, not a checkpoint: .*place: give .*place/last.ckpt"),
        ("config.json", "no model.safetensors beside config.json: .*place: copy or download"),
        ("ar.onnx", "a folder of ONNX files, not a checkpoint: .*place: give the checkpoint"),
        ("latest", "a folder that DeepSpeed wrote: .*place: vocolab export .*place --format safetensors -o OUT"),
        ("notes.txt", "a folder, not a checkpoint: .*place: give a file, or a folder that holds config.json and"),
    ],
)
def test_a_folder_in_the_place_of_a_checkpoint(file, line, tmp_path):
    path = tmp_path / "place" / file
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(VocolabError, match=line):
        read_checkpoint(tmp_path / "place")
