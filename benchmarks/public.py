"""Models of public packages, with random weights that ours read too."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from vocolab import _compat
from vocolab.checkpoints.official import export_hifigan
from vocolab.vocoders import HiFiGAN
from vocolab.vocoders.normed import WeightNorm

# What WavLM-Large.pt says of itself, as far as the network depends on it.
WAVLM_LARGE = {
    "extractor_mode": "layer_norm",
    "encoder_layers": 24,
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
    "activation_fn": "gelu",
    "layer_norm_first": True,
    "conv_feature_layers": "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
    "conv_bias": False,
    "normalize": True,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "relative_position_embedding": True,
    "num_buckets": 320,
    "max_distance": 800,
    "gru_rel_pos": True,
}
RESBLOCKS = {"resblock_type": "1", "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3}


def write_wavlm(home: Path, depth: int = 24) -> Path:
    """A random model in the layout of `WavLM-Large.pt`, at the place below `home` where coqui-tts looks for it."""
    _compat.torchaudio()
    from TTS.vc.layers.freevc.wavlm.wavlm import WavLM, WavLMConfig

    cfg = {**WAVLM_LARGE, "encoder_layers": depth}
    state = WavLM(WavLMConfig(cfg)).state_dict()
    official = {"original0": "weight_g", "original1": "weight_v"}  # the published file is older than parametrizations
    for theirs, name in official.items():
        stem = "encoder.pos_conv.0."
        state[stem + name] = state.pop(f"{stem}parametrizations.weight.{theirs}")
    path = home / "tts" / "wavlm" / "WavLM-Large.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"cfg": cfg, "model": state}, path)
    return path


def random_hifigan(projection: int | None = 512) -> HiFiGAN:
    """V1 for WavLM features, or for mels (`projection=None`), with weights that neither fade nor blow up a signal: with
    fresh ones every output is nearly 0, and would be equal whatever the network did.
    """
    sizes = (
        {} if projection else {"in_channels": 80, "upsample_rates": (8, 8, 2, 2), "upsample_kernels": (16, 16, 4, 4)}
    )
    rate = 16000 if projection else 22050
    vocoder = HiFiGAN(projection=projection, sample_rate=rate, **sizes)
    for conv in vocoder.modules():
        if isinstance(conv, WeightNorm):
            taps = conv.weight_v[0].numel() if isinstance(conv, nn.Conv1d) else 2 * conv.weight_v.shape[0]
            conv.fill_normal(taps**-0.5)
    return vocoder.eval()


def export(vocoder: HiFiGAN, folder: Path) -> Path:
    """`vocoder` as an official file of this project."""
    path = folder / "g_00000000.pt"
    export_hifigan(vocoder, path, overwrite=True)
    return path


def coqui_generator(path: Path, ours: HiFiGAN) -> nn.Module:
    """coqui-tts's generator, of the sizes of `ours`, that has read an official file with its own loader. That wants the
    weights under another key, `model`, with the same names.
    """
    _compat.torchaudio()
    from TTS.vocoder.models.hifigan_generator import HifiganGenerator

    generator = HifiganGenerator(
        ours.projection or ours.in_channels,
        1,
        upsample_factors=list(ours.upsample_rates),
        upsample_kernel_sizes=list(ours.upsample_kernels),
        upsample_initial_channel=ours.channels,
        inference_padding=0,
        pre_linear=ours.in_channels if ours.projection else None,
        **RESBLOCKS,
    )
    renamed = path.with_name("coqui.pt")
    torch.save({"model": torch.load(path, weights_only=True)["generator"]}, renamed)
    generator.load_checkpoint(None, renamed, eval=True)
    return generator


def coqui_knnvc(home: Path) -> nn.Module:
    """coqui-tts's kNN-VC with the WavLM that `write_wavlm` left in `home`."""
    _compat.torchaudio()
    from TTS.vc.configs.knnvc_config import KNNVCConfig
    from TTS.vc.models.knnvc import KNNVC

    os.environ["TTS_HOME"] = str(home)
    return KNNVC(KNNVCConfig()).eval()


def transformers_hifigan(ours: HiFiGAN) -> nn.Module:
    """transformers' generator for mels with the (folded) weights of `ours`."""
    _compat.torchaudio()
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        model_in_dim=ours.in_channels,
        sampling_rate=ours.sample_rate,
        upsample_initial_channel=ours.channels,
        upsample_rates=list(ours.upsample_rates),
        upsample_kernel_sizes=list(ours.upsample_kernels),
        resblock_kernel_sizes=RESBLOCKS["resblock_kernel_sizes"],
        resblock_dilation_sizes=RESBLOCKS["resblock_dilation_sizes"],
        normalize_before=False,
    )
    model = SpeechT5HifiGan(config).eval()
    state = {name.replace("ups.", "upsampler."): value for name, value in ours.state_dict().items()}
    absent, strange = model.load_state_dict(state, strict=False)
    assert set(absent) <= {"mean", "scale"} and not strange, (absent, strange)
    return model
