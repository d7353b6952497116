"""Tiny random models on disk, as users have them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from vocolab import _compat, audio

KINDS = {
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "biased": {"feat_extract_norm": "layer", "do_stable_layer_norm": False, "conv_bias": True},
}


def tiny_wavlm(kind: str, depth: int = 8, seed: int = 0) -> nn.Module:
    """A random `transformers.WavLMModel` whose every parameter matters (norms and gates are initialised to no effect
    otherwise).
    """
    _compat.torchaudio()
    from transformers import WavLMConfig, WavLMModel

    config = WavLMConfig(
        hidden_size=48,
        num_hidden_layers=depth,
        num_attention_heads=4,
        intermediate_size=96,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        num_buckets=40,
        max_bucket_distance=60,
        **KINDS[kind],
    )
    torch.manual_seed(seed)
    model = WavLMModel(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or "rel_" in name:
            nn.init.normal_(parameter, 1.0 if "norm.weight" in name else 0.0, 0.2)
    return model


SIZES = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96}
CONVOLUTIONS = {"conv_dim": (32,) * 7, "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4}
HUGGING_FACE = {  # name -> class of transformers, and what its configuration has beside the sizes
    "HuBERT": ("Hubert", CONVOLUTIONS | KINDS["large"]),
    "wav2vec 2.0": ("Wav2Vec2", CONVOLUTIONS | KINDS["base"]),
    "XLS-R": ("Wav2Vec2", CONVOLUTIONS | KINDS["large"] | {"conv_bias": True}),
    "data2vec": (
        "Data2VecAudio",
        {"conv_dim": (32,) * 7, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}
        | {"num_conv_pos_embedding_groups": 4},
    ),
    "w2v-BERT": ("Wav2Vec2Bert", {}),
}


def tiny_hugging_face(name: str, folder: Path, normalize: bool = True) -> nn.Module:
    """A random model of an architecture, saved in `folder` with the file that says what it hears."""
    _compat.torchaudio()
    import transformers

    kind, settings = HUGGING_FACE[name]
    config = getattr(transformers, f"{kind}Config")(**SIZES | settings)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0 if "norm.weight" in parameter_name else 0.0, 0.2)
    model.save_pretrained(folder)
    if kind == "Wav2Vec2Bert":
        transformers.SeamlessM4TFeatureExtractor().save_pretrained(folder)
    else:
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return model


@pytest.fixture(scope="session", params=sorted(KINDS))
def wavlm_pair(request, tmp_path_factory) -> tuple[nn.Module, Path]:
    """A tiny model and the folder it was saved in, for each kind."""
    model = tiny_wavlm(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="session")
def wavlm_folder(tmp_path_factory) -> Path:
    """A tiny model of the large kind."""
    folder = tmp_path_factory.mktemp("wavlm")
    tiny_wavlm("large").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def utterances(builtin_corpus: Path) -> list[torch.Tensor]:
    """Real speech of different lengths, the shortest a single frame; the longest does not come first. The first
    has an odd number of Whisper's mel frames.
    """
    paths = sorted(builtin_corpus.glob("synth/3001/*/*.opus"))[:3]
    first, second, third = (audio.read(path, 16000)[0] for path in paths)
    return [first[:17203], second[:40000], third[20000:20400], second[40000:49999]]
