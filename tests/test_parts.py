"""Every part keeps its constructor arguments, so that what a checkpoint says of it builds it again."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys

import pytest
import torch

from vocolab.codecs import Codec
from vocolab.data.corpora import Corpus
from vocolab.encoders import Whisper
from vocolab.encoders.base import Encoder
from vocolab.errors import VocolabError
from vocolab.imports import import_parts
from vocolab.lm import AR, NAR, LanguageModel
from vocolab.lm.backbones import Backbone, Transformer
from vocolab.parts import build, check_imported, describe, modules_of
from vocolab.text import Characters, Phonemes, Text
from vocolab.vocoders import Discriminator, Ensemble, MultiPeriodDiscriminator, Vocoder, Vocos, WaveLoss

BASES = {
    "vocolab.vocoders": (Vocoder, Discriminator, WaveLoss),
    "vocolab.encoders": (Encoder,),
    "vocolab.data.corpora": (Corpus,),
    "vocolab.data.batches": (importlib.import_module("vocolab.data.batches").Batches,),
    "vocolab.tasks": (importlib.import_module("vocolab.tasks").Schedule,),
    "vocolab.codecs": (Codec,),
    "vocolab.text": (Text,),
    "vocolab.lm": (LanguageModel,),
    "vocolab.lm.backbones": (Backbone,),
}
TINY_VOCODER = Vocos(in_channels=8, dim=8, blocks=1, hidden=8)
TINY = Transformer(dim=8, heads=2, layers=1)
# Arguments that have no default, and one that is not the default for each: a lost argument must show.
REQUIRED = {
    "Folder": {"root": "speech"},
    "LibriSpeech": {"root": "speech"},
    "LibriTTS": {"root": "speech"},
    "LibriTTSR": {"root": "speech"},
    "LJSpeech": {"root": "speech"},
    "VCTK": {"root": "speech"},
    "Manifest": {"path": "list.tsv"},
    "LayerStack": {"encoder": Whisper(), "stacked": [0, 1]},
    "LayerWeights": {"vocoder": TINY_VOCODER, "in_channels": 8},
    "KMeansCodec": {"encoder": Whisper(layer=1)},
    "NormalizedText": {"text": Characters()},
    "AR": {"backbone": TINY},
    "NAR": {"backbone": TINY},
    "Unified": {"backbone": TINY},
    "Split": {"ar": AR(TINY), "nar": NAR(TINY)},
    "InverseSquareRoot": {"warmup": 10},
    "Ensemble": {"members": [MultiPeriodDiscriminator(periods=[2], channels=[4, 4])]},
    "WarmupCosine": {"total": 10},
}
SMALL = {
    "HiFiGAN": {"in_channels": 8, "channels": 32, "projection": 16},
    "BigVGAN": {"in_channels": 8, "channels": 64, "projection": 16},
    "Vocos": {"in_channels": 8, "dim": 8, "blocks": 1, "hidden": 8},
    "MultiPeriodDiscriminator": {"periods": [2, 3], "channels": [4, 4]},
    "MultiScaleDiscriminator": {"scales": 1, "channels": [4, 4], "kernels": [15, 5], "strides": [1, 1], "groups": [1, 1]},
    "MultiResolutionSTFTDiscriminator": {"resolutions": [[64, 16]], "channels": [4, 4], "strides": [2, 1]},
    "MelLoss": {"weight": 3.0},
    "MultiResolutionSTFTLoss": {"weight": 3.0},
    "WavLM": {"checkpoint": "microsoft/wavlm-base", "layer": 3},
    "Whisper": {"layer": 1},
    "LayerStack": {"encoder": Whisper(checkpoint="weights"), "stacked": [1, 2], "checkpoint": "weights"},
    "LayerWeights": {"vocoder": TINY_VOCODER, "in_channels": 24},
    "HuggingFace": {"checkpoint": "facebook/wav2vec2-xls-r-300m", "layer": 5, "normalize": True},
    "Mel": {"n_mels": 40, "n_fft": 512},
    "BuiltinSpeech": {"val": ["3001-10-0000"]},
    "Folder": {"root": "speech", "val": 0.1, "speaker": "^(x)"},
    "LibriSpeech": {"root": "speech", "train": ["dev-other"]},
    "LibriTTS": {"root": "speech", "train": ["dev-other"]},
    "LibriTTSR": {"root": "speech", "train": ["dev-other"]},
    "LJSpeech": {"root": "speech", "val": 0.1},
    "VCTK": {"root": "speech", "mic": "mic2", "val": ["p225_*"]},
    "Manifest": {"path": "list.tsv", "root": "speech", "val": 0.1, "test": ["a"]},
    "EnCodec": {"bandwidth": 3.0},
    "KMeansCodec": {"encoder": Whisper(layer=1), "levels": 3, "size": 16, "vocoder": "last.ckpt"},
    "Phonemes": {"default_language": "fr-fr"},
    "NormalizedText": {"text": Phonemes("fr-fr")},
    "AR": {"backbone": TINY, "levels": 2, "size": 16, "text_weight": 0.0, "corrupt": 0.1},
    "NAR": {"backbone": TINY, "levels": 2, "size": 16, "voice_summary": True},
    "Unified": {"backbone": TINY, "levels": 2, "size": 16},
    "Split": {"ar": AR(TINY, levels=2, size=16), "nar": NAR(TINY, levels=2, size=16)},
    "Transformer": {"dim": 8, "heads": 2, "layers": 1, "adaptive_levels": 2},
    "RetNet": {"dim": 8, "heads": 2, "layers": 1, "experts": 2},
    "Llama": {"dim": 8, "heads": 2, "layers": 1, "linear": "BitLinear"},
    "Mixtral": {"dim": 8, "heads": 2, "layers": 1, "experts": 3},
    "BitNet": {"dim": 8, "heads": 2, "layers": 1},
    "TokenBudget": {"tokens": 500, "prompt": "prefix"},
    "InverseSquareRoot": {"warmup": 5},
    "Crops": {"frames": 3, "size": 5},
    "MatchedCrops": {"frames": 3, "plain": 0.1, "topk": 4, "pool_seconds": [1, 2.5]},
    "Utterances": {"size": 3},
    "StepDecay": {"gamma": 0.5, "every": 3},
    "WarmupCosine": {"total": 10, "warmup": 2},
}  # fmt: skip


def parts() -> list[type]:
    found = {}
    for name, bases in BASES.items():
        module = importlib.import_module(name)
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, bases) and not inspect.isabstract(cls) and cls not in bases:
                found[cls.__name__] = cls
    return list(found.values())


def same(a, b) -> bool:
    return describe(a) == describe(b)


def test_the_parts_are_found():
    assert {
        "HiFiGAN",
        "Vocos",
        "Ensemble",
        "MelLoss",
        "Mel",
        "WavLM",
        "Whisper",
        "LibriSpeech",
        "Crops",
        "StepDecay",
    } <= {cls.__name__ for cls in parts()}


@pytest.mark.parametrize("cls", parts(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("arguments", [REQUIRED, SMALL], ids=["defaults", "given"])
def test_a_part_is_built_again_from_its_description(cls, arguments):
    given = arguments.get(cls.__name__, REQUIRED.get(cls.__name__, {}))
    with torch.device("meta"):  # shapes alone: the weights of the full sizes would take seconds and gigabytes
        part = cls(**given)
    described = describe(part)
    for name in inspect.signature(cls).parameters:
        assert hasattr(part, name), f"{cls.__name__} does not keep {name}"
    for name, value in given.items():
        assert described["init_args"][name] == describe(value)
    with torch.device("meta"):
        again = build(described)
    assert type(again) is cls and same(part, again)
    if isinstance(part, torch.nn.Module):
        shapes = [{key: value.shape for key, value in module.state_dict().items()} for module in (part, again)]
        assert shapes[0] == shapes[1]


def test_a_description_is_plain_and_nested():
    described = describe(Ensemble([MultiPeriodDiscriminator(periods=[2], channels=[4, 4])]))
    assert described["class_path"].endswith(".Ensemble")
    member = described["init_args"]["members"][0]
    assert member["init_args"]["periods"] == [2] and member["class_path"].endswith(".MultiPeriodDiscriminator")


class Forgetful:
    def __init__(self, size: int = 3):
        self._size = size


def test_an_argument_that_is_not_kept_is_noticed():
    with pytest.raises(AttributeError, match="size"):
        describe(Forgetful())


def test_prematch_is_a_dataclass_of_plain_values():
    from vocolab.data.module import Prematch

    assert dataclasses.is_dataclass(Prematch)
    assert build(describe(Prematch(topk=7))) == Prematch(topk=7)


@pytest.mark.parametrize(
    "path",
    ["os.system", "vocolab.vocoders.Nothing", "vocolab.nothing.HiFiGAN", "subprocess.Popen", "vocolab.parts.build"],
)
def test_a_description_chooses_no_import(path):
    with pytest.raises(VocolabError, match="no such class"):
        build({"class_path": path, "init_args": {}}, Vocoder)


def test_nor_does_one_inside_another(tmp_path):
    """Only the outermost class is held to a type by its caller; inside, only classes of our own are built."""
    proof = tmp_path / "executed"
    nested = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(proof)]}}
    description = {"class_path": "vocolab.vocoders.Vocos", "init_args": {"in_channels": 8, "dim": nested}}
    with pytest.raises(VocolabError, match="no such class: subprocess.Popen"):
        build(description, Vocoder)
    borrowed = {"class_path": "vocolab.files.Path", "init_args": {}}  # only imported there
    with pytest.raises(VocolabError, match="no such class"):
        build({**description, "init_args": {"dim": borrowed}}, Vocoder)
    assert not proof.exists()


class Outside:
    """A class of a module that nobody named."""


class Derived(Transformer):
    """A part of ours, changed: imported by whoever runs this."""


def test_what_is_inside_a_description_is_trusted_or_not(tmp_path, monkeypatch):
    """Built are parts of ours, what derives from them, and classes of modules that were named: not what those borrow."""
    (tmp_path / "named.py").write_text("from subprocess import Popen\n\n\nclass Helper:\n    pass\n")
    monkeypatch.setattr("vocolab.imports._trusted", {"vocolab"})
    monkeypatch.setattr("sys.path", [*sys.path])
    assert type(build({"class_path": f"{__name__}.Derived"})) is Derived
    with pytest.raises(VocolabError, match=f"{__name__}.Outside: .*--import {__name__} "):
        build({"class_path": f"{__name__}.Outside"})
    with pytest.raises(VocolabError, match="it has parts of named: named.Helper: .*--import named "):
        build({"class_path": "named.Helper"})
    import_parts([str(tmp_path / "named.py")])
    assert type(build({"class_path": "named.Helper"})).__name__ == "Helper"
    with pytest.raises(VocolabError, match="no such class: named.Popen"):
        build({"class_path": "named.Popen", "init_args": {"args": ["true"]}})
    with pytest.raises(VocolabError, match="no such class: named.Lost"):
        build({"class_path": "named.Lost"})


def test_all_modules_of_a_description_are_named_at_once():
    inner = {
        "class_path": "mine.backbone.B",
        "init_args": {"linear": "other.L", "act": {"class_path": "torch.nn.ReLU"}},
    }
    described = [{"class_path": "vocolab.lm.AR", "init_args": {"backbone": inner}}, {"class_path": "third.C"}]
    assert modules_of(described) == ["mine.backbone", "other", "third"]
    with pytest.raises(VocolabError, match="a.ckpt: .* --import mine.backbone --import other --import third "):
        check_imported(described, "a.ckpt")
    with pytest.raises(VocolabError, match="move the class of the part from the training script"):
        build({"class_path": "__main__.Lost"})
