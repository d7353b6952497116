"""Model files: this project's, and the official layouts of HiFi-GAN and kNN-VC (`g_*`, `prematch_g_*`, `do_*.pt`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vocolab.errors import VocolabError
from vocolab.files import atomic
from vocolab.parts import build
from vocolab.torchfile import read_torch
from vocolab.vocoders import Discriminator, HiFiGAN, MultiPeriodDiscriminator, MultiScaleDiscriminator, Vocoder

FORMAT = 1  # of the `vocolab` key

State = Mapping[str, Tensor]


@dataclass
class VocoderCheckpoint:
    """A vocoder and what its file says about it: the content of the `vocolab` key.

    An official file says nothing: `encoder` is None, and so are the layers, which then are the encoder's own.
    """

    vocoder: Vocoder
    meta: dict[str, Any]


def official_names(state: State) -> dict[str, Tensor]:
    """`state` with the names of torch's parametrizations replaced by those of the official checkpoints.

    Order is kept, except that an official convolution states its bias first.
    """
    renamed = {}
    spectral = {key.removesuffix(".0._u") for key in state if key.endswith(".parametrizations.weight.0._u")}
    for key, value in state.items():
        stem, found, rest = key.partition(".parametrizations.weight")
        if not found:
            renamed[key] = value
        elif f"{stem}{found}" in spectral:
            renamed[stem + {".original": ".weight_orig", ".0._u": ".weight_u", ".0._v": ".weight_v"}[rest]] = value
        else:
            renamed[stem + {".original0": ".weight_g", ".original1": ".weight_v"}[rest]] = value
    return renamed


def fill(module: nn.Module, state: State, where: object) -> None:
    """Copy `state` into `module`; `VocolabError` where names or shapes differ, naming the first."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    remedy = "the file is of another architecture, or the sizes differ"
    if missing or extra:
        first = f"no {missing[0]}" if missing else f"unknown {extra[0]}"
        raise VocolabError(
            f"{len(missing)} tensors missing, {len(extra)} unknown in {type(module).__name__} ({first})", where, remedy
        )
    for key, value in own.items():
        if state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)}, expected {tuple(value.shape)}"
            raise VocolabError(f"{key} is {shapes}", where, remedy)
    module.load_state_dict(dict(state))


def section(state: State, prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def load_vocoder(path: str | Path) -> VocoderCheckpoint:
    """The vocoder in a checkpoint of this project or in an official generator file, in eval mode.

    Raises `VocolabError` where `path` holds none.
    """
    content = read_torch(path)
    if "vocolab" in content:
        return _own_vocoder(content, path)
    if isinstance(content.get("generator"), dict):
        return _official_vocoder(official_names(content["generator"]), path)
    if "mpd" in content:
        raise VocolabError("holds discriminators, no generator", path, "give the g_ file of the same step")
    raise VocolabError("holds no vocoder", path, "give a checkpoint of vocolab fit or an official g_*.pt")


def _own_vocoder(content: Mapping[str, Any], path: str | Path) -> VocoderCheckpoint:
    meta = content["vocolab"]
    if meta.get("format") != FORMAT:
        raise VocolabError(f"checkpoint format {meta.get('format')}, expected {FORMAT}", path, "update vocolab")
    state = section(content.get("state_dict", {}), "vocoder.")
    if meta.get("kind") != "vocoder" or not state:
        raise VocolabError(
            f"holds a model of kind {meta.get('kind')!r}, no vocoder", path, "give a checkpoint of a vocoder's training"
        )
    vocoder = build(meta["vocoder"], Vocoder)
    fill(vocoder, state, path)
    return VocoderCheckpoint(vocoder.eval(), dict(meta))


def _official_vocoder(state: State, path: str | Path) -> VocoderCheckpoint:
    vocoder = HiFiGAN(**_sizes(state, Path(path)))
    if "conv_pre.weight" in state:  # saved after remove_weight_norm
        vocoder.fold()
    fill(vocoder, state, path)
    matching = {"topk": 4, "matching_layer": None, "synthesis_layer": None}
    meta = {"format": FORMAT, "kind": "vocoder", "encoder": None, "matching": matching}
    return VocoderCheckpoint(vocoder.eval(), meta | {"sample_rate": vocoder.sample_rate, "hop": vocoder.hop})


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


def _official_config(path: Path) -> dict[str, Any]:
    """The official configuration beside a generator; nothing where the file is absent or is something else."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) and "upsample_rates" in config else {}


def load_discriminator(discriminator: Discriminator, content: Mapping[str, Any], where: object) -> None:
    """Copy the `mpd` and `msd` of an official `do_*.pt` into the members of their types inside `discriminator`."""
    for key, kind in (("mpd", MultiPeriodDiscriminator), ("msd", MultiScaleDiscriminator)):
        members = [part for part in discriminator.modules() if isinstance(part, kind)]
        if len(members) != 1:
            raise VocolabError(
                f"{len(members)} {kind.__name__} to take {key!r}", where, "use configs/discriminator/hifigan.yaml"
            )
        fill(members[0], official_names(content[key]), where)


def load_weights(module: nn.Module, path: str | Path) -> list[str]:
    """Initialise the parts of `module` from a model file, for fine-tuning; returns the names of those filled.

    An official `g_*.pt` fills `module.vocoder`, a `do_*.pt` `module.discriminator`, a checkpoint of this project every
    child that it has weights for. Raises `VocolabError` where nothing fits or sizes differ.
    """
    content = read_torch(path)
    if isinstance(content.get("generator"), dict) and hasattr(module, "vocoder"):
        fill(module.vocoder, official_names(content["generator"]), path)
        return ["vocoder"]
    if "mpd" in content and "msd" in content and hasattr(module, "discriminator"):
        load_discriminator(module.discriminator, content, path)
        return ["discriminator"]
    filled = []
    for name, child in module.named_children():
        state = section(content.get("state_dict", {}), f"{name}.")
        if state:
            fill(child, state, path)
            filled.append(name)
    if not filled:
        raise VocolabError(f"holds no weights for {type(module).__name__}", path, "give a checkpoint of the same kind")
    return filled


def export_hifigan(vocoder: Vocoder, path: str | Path, overwrite: bool = False) -> None:
    """Write `vocoder` in the official layout, `{"generator": ...}`.

    Raises `VocolabError` where it is no HiFi-GAN or was folded.
    """
    if not isinstance(vocoder, HiFiGAN):
        raise VocolabError(f"{type(vocoder).__name__} has no official layout", path, "export a HiFiGAN")
    state = {key: value.detach().cpu().clone() for key, value in vocoder.state_dict().items()}
    if "conv_pre.weight_v" not in state:
        raise VocolabError("weight norm was removed", path, "export the vocoder before fold()")
    with atomic(path, overwrite) as temporary:
        torch.save({"generator": state}, temporary)
