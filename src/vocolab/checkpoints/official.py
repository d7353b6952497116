"""The official layouts of HiFi-GAN, kNN-VC and BigVGAN: `g_*`, `prematch_g_*`, `do_*.pt`, `bigvgan_generator.pt`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vocolab.checkpoints.content import State, fill
from vocolab.errors import VocolabError
from vocolab.files import atomic
from vocolab.vocoders import BigVGAN, HiFiGAN, MultiPeriodDiscriminator, MultiScaleDiscriminator, Vocoder
from vocolab.vocoders.normed import WeightNorm

ACT = "activation_post.act.alpha"  # a weight that every BigVGAN has, and no HiFi-GAN


def official_names(state: State) -> dict[str, Tensor]:
    """`state` with the names of torch's parametrizations replaced by those of the official checkpoints.

    Order is kept, except that an official convolution states its bias first. Of BigVGAN's, the filters are left out,
    which are the same in every file, and each upsampling convolution is taken out of the list it is alone in.
    """
    renamed = {}
    spectral = {key.removesuffix(".0._u") for key in state if key.endswith(".parametrizations.weight.0._u")}
    for key, value in state.items():
        if key.endswith(".filter"):
            continue
        key = re.sub(r"^(ups\.\d+)\.0\.", r"\1.", key)
        stem, found, rest = key.partition(".parametrizations.weight")
        if not found:
            renamed[key] = value
        elif f"{stem}{found}" in spectral:
            renamed[stem + {".original": ".weight_orig", ".0._u": ".weight_u", ".0._v": ".weight_v"}[rest]] = value
        else:
            renamed[stem + {".original0": ".weight_g", ".original1": ".weight_v"}[rest]] = value
    return renamed


def generator(state: State, path: str | Path) -> HiFiGAN | BigVGAN:
    """The vocoder whose weights an official file holds under `generator`, by the names of `official_names`."""
    sizes = _sizes(state, Path(path))
    vocoder = BigVGAN(**_sizes_of_bigvgan(state, sizes, Path(path))) if ACT in state else HiFiGAN(**sizes)
    if "conv_pre.weight" in state:  # saved after remove_weight_norm
        vocoder.fold()
    fill(vocoder, state, path)
    return vocoder


def _sizes(state: State, path: Path) -> dict[str, Any]:
    """Arguments of `HiFiGAN` for official weights: from their shapes, and the official `config.json` beside them.

    Shapes tell neither upsampling rates nor dilations nor the sample rate. Without a config they are those of the
    published models: a rate is half its kernel; 22,050 Hz for mels at hop 256, else 50 frames/s.
    """

    def weight(name: str) -> Tensor:
        found = state.get(f"{name}.weight_v", state.get(f"{name}.weight"))
        if found is None:
            raise VocolabError(f"no {name} in the generator", path, "give an official HiFi-GAN generator")
        return found

    def count(pattern: str) -> int:
        return len({match[1] for key in state if (match := re.match(pattern, key))})

    stages = count(r"ups\.(\d+)\.")
    kinds = count(r"resblocks\.(\d+)\.") // max(stages, 1)
    projected = "lin_pre.weight" in state
    resblock, inner = (1, "convs1") if count(r"resblocks\.(\d+)\.convs1\.") else (2, "convs")
    kernels = [weight(f"ups.{i}").shape[2] for i in range(stages)]
    sizes = {
        "in_channels": state["lin_pre.weight"].shape[1] if projected else weight("conv_pre").shape[1],
        "projection": weight("conv_pre").shape[1] if projected else None,
        "channels": weight("conv_pre").shape[0],
        "upsample_rates": [kernel // 2 for kernel in kernels],
        "upsample_kernels": kernels,
        "resblock": resblock,
        "resblock_kernels": [weight(f"resblocks.{i}.{inner}.0").shape[2] for i in range(kinds)],
        "resblock_dilations": [[1, 3, 5]] * kinds if resblock == 1 else [[1, 2], [2, 6], [3, 12]][:kinds],
    }
    config = _official_config(path.with_name("config.json"))
    for theirs, ours in (
        ("upsample_rates", "upsample_rates"),
        ("resblock_dilation_sizes", "resblock_dilations"),
        ("sampling_rate", "sample_rate"),
    ):
        if theirs in config:
            sizes[ours] = config[theirs]
    hop = int(torch.tensor(sizes["upsample_rates"]).prod())
    sizes.setdefault("sample_rate", 22050 if hop == 256 and not projected else hop * 50)
    return sizes


def _sizes_of_bigvgan(state: State, sizes: dict[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of `BigVGAN` for official weights, given those that `HiFiGAN` would have.

    Without a config the sample rate is that of the published models with as many mels. The first version, alone with a
    bias in its last convolution, ends with tanh.
    """
    if sizes.pop("resblock") != 1:
        raise VocolabError("blocks without a second convolution", path, "give a published BigVGAN generator")
    first = "conv_post.bias" in state
    published = {80: 22050, 100: 24000, 128: 44100}.get(sizes["in_channels"])
    if published and "sampling_rate" not in _official_config(path.with_name("config.json")):
        sizes["sample_rate"] = published
    activation = "snakebeta" if ACT.replace("alpha", "beta") in state else "snake"
    blocks = {"block_kernels": sizes.pop("resblock_kernels"), "block_dilations": sizes.pop("resblock_dilations")}
    return sizes | blocks | {"activation": activation, "final_tanh": first, "final_bias": first}


def _official_config(path: Path) -> dict[str, Any]:
    """The official configuration beside a generator; nothing where the file is absent or is something else."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) and "upsample_rates" in config else {}


def discriminators(discriminator: nn.Module, where: object) -> tuple[MultiPeriodDiscriminator, MultiScaleDiscriminator]:
    """The one MPD and the one MSD inside `discriminator`. Raises `VocolabError` where it has not one of each."""
    periods = [part for part in discriminator.modules() if isinstance(part, MultiPeriodDiscriminator)]
    scales = [part for part in discriminator.modules() if isinstance(part, MultiScaleDiscriminator)]
    if len(periods) != 1 or len(scales) != 1:
        what = f"{len(periods)} MultiPeriodDiscriminator and {len(scales)} MultiScaleDiscriminator, not one of each"
        raise VocolabError(what, where, "use configs/discriminator/hifigan.yaml")
    return periods[0], scales[0]


def load_discriminator(discriminator: nn.Module, content: Mapping[str, Any], where: object) -> None:
    """Copy the `mpd` and `msd` of an official `do_*.pt` into the MPD and the MSD inside `discriminator`."""
    for key, part in zip(("mpd", "msd"), discriminators(discriminator, where), strict=True):
        fill(part, official_names(content[key]), where)


def check_layout(vocoder: Vocoder, where: object) -> HiFiGAN:
    """`vocoder`. Raises `VocolabError` where it is no HiFi-GAN."""
    if not isinstance(vocoder, HiFiGAN):
        raise VocolabError(f"{type(vocoder).__name__} has no official layout", where, "export a HiFiGAN")
    return vocoder


def export_hifigan(vocoder: Vocoder, path: str | Path, overwrite: bool = False) -> None:
    """Write `vocoder` in the official layout, `{"generator": ...}`. A folded one gets its weight norm back.

    Raises `VocolabError` where it is no HiFi-GAN, or the file cannot be written.
    """
    own = check_layout(vocoder, path).state_dict()
    state = unfolded({key: value.detach().cpu().clone() for key, value in own.items()}, vocoder)
    with atomic(path, overwrite) as temporary:
        torch.save({"generator": state}, temporary)


def unfolded(state: State, vocoder: nn.Module) -> dict[str, Tensor]:
    """`state` of `vocoder` with a weight norm for each convolution whose norm was folded in: the weight itself is the
    direction, and its length the magnitude.
    """
    folded = {f"{name}.weight" for name, part in vocoder.named_modules() if isinstance(part, WeightNorm)}
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key not in folded:
            found[key] = value
            continue
        magnitude = torch.norm_except_dim(value, 2, 0)
        # No direction has length 0.
        direction = torch.where(magnitude > 0, value, torch.ones_like(value))
        found |= {f"{key}_g": magnitude, f"{key}_v": direction}
    return found
