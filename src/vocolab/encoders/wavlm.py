"""WavLM (Chen et al. 2022) as frame features: the encoder of kNN-VC."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vocolab import weights
from vocolab.encoders.base import Encoder
from vocolab.encoders.wavlm_blocks import PositionalConvolution, WavLMNetwork, WavLMShape
from vocolab.errors import VocolabError
from vocolab.remote import RELEASE, model_file, url_of
from vocolab.torchfile import read_torch

LARGE = WavLMShape(dim=1024, depth=24, heads=16, ffn=4096, group_norm=False, pre_norm=True)
# Sizes that need no file, so that the feature width of a recipe is known without network.
PUBLISHED = {
    "microsoft/wavlm-base": WavLMShape(),
    "microsoft/wavlm-base-plus": WavLMShape(),
    "microsoft/wavlm-large": LARGE,
    "WavLM-Large.pt": LARGE,
}

# Frames encoded at once, padding included. With more a CPU gets slower: activations outgrow the memory that the
# allocator reuses.
CPU_FRAMES = 640
GPU_FRAMES = 16384

_LAYER = r"encoder\.layers\.(\d+)\."
# Hugging Face's names, then those of the official files, and ours.
_NAMES = [
    (r"feature_extractor\.conv_layers\.(\d+)\.(?:conv|0)\.(weight|bias)", r"convolutions.\1.\2"),
    (r"feature_extractor\.conv_layers\.(\d+)\.(?:layer_norm|2\.1|2)\.(weight|bias)", r"convolutions.\1.norm.\2"),
    (r"(?:feature_projection\.)?layer_norm\.(weight|bias)", r"projection_norm.\1"),
    (r"(?:feature_projection\.projection|post_extract_proj)\.(weight|bias)", r"projection.\1"),
    (r"encoder\.(?:pos_conv_embed\.conv|pos_conv\.0)\.parametrizations\.weight\.original0", r"position.weight_g"),
    (r"encoder\.(?:pos_conv_embed\.conv|pos_conv\.0)\.parametrizations\.weight\.original1", r"position.weight_v"),
    (r"encoder\.(?:pos_conv_embed\.conv|pos_conv\.0)\.(weight_g|weight_v|bias)", r"position.\1"),
    (r"encoder\.layer_norm\.(weight|bias)", r"norm.\1"),
    (r"encoder\.layers\.0\.(?:attention\.rel_attn_embed|self_attn\.relative_attention_bias)\.weight", r"relative_bias"),
    (_LAYER + r"(?:attention|self_attn)\.([qkv]_proj|out_proj)\.(weight|bias)", r"blocks.\1.attention.\2.\3"),
    (
        _LAYER + r"(?:attention\.gru_rel_pos_linear|self_attn\.grep_linear)\.(weight|bias)",
        r"blocks.\1.attention.gate.\2",
    ),
    (_LAYER + r"(?:attention\.gru_rel_pos_const|self_attn\.grep_a)", r"blocks.\1.attention.gate_scale"),
    (_LAYER + r"(?:layer_norm|self_attn_layer_norm)\.(weight|bias)", r"blocks.\1.attention_norm.\2"),
    (_LAYER + r"(?:feed_forward\.intermediate_dense|fc1)\.(weight|bias)", r"blocks.\1.fc1.\2"),
    (_LAYER + r"(?:feed_forward\.output_dense|fc2)\.(weight|bias)", r"blocks.\1.fc2.\2"),
    (_LAYER + r"final_layer_norm\.(weight|bias)", r"blocks.\1.final_norm.\2"),
]


class WavLM(Encoder):
    """Features of WavLM's block `layer`: its raw output, without the final LayerNorm (Hugging Face's
    `hidden_states[layer]`).

    checkpoint: a Hugging Face folder or hub name, or the official file (`WavLM-Large.pt`), which is fetched where it is
    named by its URL, or by its bare name and lies not here. Layer 0 is the input of the first block. The waveform is
    not normalised, as in kNN-VC, whatever the checkpoint's configuration says. Only the layers asked for are read and
    run; rows of a batch see nothing of their padding.
    """

    sample_rate = 16000

    def __init__(self, checkpoint: str | Path = "microsoft/wavlm-large", layer: int = 6):
        super().__init__()
        self.checkpoint, self.layer = checkpoint, layer
        self.network: WavLMNetwork | None = None

    @functools.cached_property
    def shape(self) -> WavLMShape:
        name = str(self.checkpoint).removeprefix(f"{RELEASE}/")
        if name in PUBLISHED and not Path(name).exists():
            return PUBLISHED[name]
        if self._is_official:
            return shape_of_official(self._read_official()["cfg"], self.checkpoint)
        path = weights.find_file(self.checkpoint, ["config.json"])
        return shape_of_config(weights.read_json(path), path)

    @functools.cached_property
    def weights_file(self) -> Path:
        return model_file(self.checkpoint) if self._is_official else weights.find_file(self.checkpoint, weights.FILES)

    @property
    def dim(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.dim

    @property
    def depth(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.depth

    @property
    def hop(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.hop

    @property
    def min_samples(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.receptive_field

    def load(self, layers: Sequence[int] | None = None) -> Self:
        self._loaded(self._layers_or_default(layers, self.shape.depth))
        return self

    def _loaded(self, layers: list[int]) -> WavLMNetwork:
        """The network, at least up to the deepest of `layers`."""
        depth = max(layers, default=0)
        if self.network is None or len(self.network.blocks) < depth:
            with torch.device("meta"):
                network = WavLMNetwork(self.shape, depth)
            rename = functools.partial(_rename, depth=depth)
            if self._is_official:
                tensors = weights.select(self._read_official()["model"], rename)
            else:
                tensors = weights.read_tensors(self.weights_file, rename)
            self.network = weights.fill(network, _fold(tensors, self.shape), self.weights_file).to(self.placement)
        return self.network

    def layers(self, wav: Tensor, lengths: Tensor | None = None, layers: Sequence[int] | None = None) -> list[Tensor]:
        lengths = self._check(wav, lengths)
        wanted = self._layers_or_default(layers, self.shape.depth)
        network = self._loaded(wanted)
        wav, total = wav.to(self.placement.dtype), self.frames(wav.shape[1])
        parts = []
        for rows in self._groups(lengths.tolist(), wav.device):
            longest = int(lengths[rows].max())
            feats = network(wav[rows, :longest], lengths[rows], wanted)
            parts.append([F.pad(f, (0, 0, 0, total - f.shape[1])) for f in feats])
        return [torch.cat(feats) if len(feats) > 1 else feats[0] for feats in zip(*parts, strict=True)]

    def _groups(self, lengths: list[int], device: torch.device) -> Iterator[slice]:
        """Consecutive rows to encode at once, as many as the limit of frames allows, padding included."""
        limit = CPU_FRAMES if device.type == "cpu" else GPU_FRAMES
        start, longest = 0, 0
        for row, length in enumerate(lengths):
            longest = max(longest, length)
            if row > start and (row + 1 - start) * self.frames(longest) > limit:
                yield slice(start, row)
                start, longest = row, length
        yield slice(start, len(lengths))

    def frames(self, samples: int) -> int:
        return max(0, self.shape.frames(samples))

    def alignment_padding(self, samples: int) -> int:
        """A whole hop where `samples` is already a multiple, as kNN-VC's prematching pads."""
        return self.hop - samples % self.hop

    def fingerprint(self) -> dict[str, Any]:
        return {"weights": self._digest}

    @functools.cached_property
    def _digest(self) -> str:
        return weights.sha256(self.weights_file)

    @property
    def _is_official(self) -> bool:
        path = Path(self.checkpoint).expanduser()
        return url_of(self.checkpoint) is not None or path.is_file() or path.suffix in (".pt", ".pth")

    def _read_official(self) -> dict[str, Any]:
        content = read_torch(self.weights_file)
        if not isinstance(content.get("cfg"), dict) or not isinstance(content.get("model"), dict):
            keys = ", ".join(map(str, list(content)[:4]))
            raise VocolabError(
                f"not a WavLM checkpoint (keys {keys})", self.checkpoint, "give one with 'cfg' and 'model'"
            )
        return content


def shape_of_config(config: dict[str, Any], where: object) -> WavLMShape:
    """Sizes from a Hugging Face config.json."""
    if config.get("model_type") != "wavlm":
        raise VocolabError(f"a {config.get('model_type')} model, not WavLM", where, "choose the encoder of that model")
    if config.get("hidden_act", "gelu") != "gelu" or config.get("feat_extract_activation", "gelu") != "gelu":
        raise VocolabError(f"activation {config.get('hidden_act')}", where, "WavLM with GELU is supported")
    names = {
        "dim": "hidden_size",
        "depth": "num_hidden_layers",
        "heads": "num_attention_heads",
        "ffn": "intermediate_size",
        "conv_dim": "conv_dim",
        "conv_kernel": "conv_kernel",
        "conv_stride": "conv_stride",
        "conv_bias": "conv_bias",
        "pre_norm": "do_stable_layer_norm",
        "pos_kernel": "num_conv_pos_embeddings",
        "pos_groups": "num_conv_pos_embedding_groups",
        "buckets": "num_buckets",
        "max_distance": "max_bucket_distance",
        "eps": "layer_norm_eps",
    }
    given = {ours: config[theirs] for ours, theirs in names.items() if theirs in config}
    given["group_norm"] = config.get("feat_extract_norm", "group") == "group"
    return _checked(given, where)


def shape_of_official(cfg: dict[str, Any], where: object) -> WavLMShape:
    """Sizes from the `cfg` of an official file, whose convolutions are written `[(512,10,5)] + [(512,3,2)] * 4 + …`."""
    try:
        convolutions: list[tuple[str, ...]] = []
        for triple, times in re.findall(r"\[\(([\d, ]+)\)\](?: *\* *(\d+))?", cfg["conv_feature_layers"]):
            convolutions += [tuple(triple.split(","))] * int(times or 1)
        conv_dim, conv_kernel, conv_stride = (tuple(map(int, column)) for column in zip(*convolutions, strict=True))
        given: dict[str, Any] = {
            "dim": cfg["encoder_embed_dim"],
            "depth": cfg["encoder_layers"],
            "heads": cfg["encoder_attention_heads"],
            "ffn": cfg["encoder_ffn_embed_dim"],
            "conv_bias": cfg.get("conv_bias", False),
            "group_norm": cfg.get("extractor_mode", "default") == "default",
            "pre_norm": cfg.get("layer_norm_first", False),
            "pos_kernel": cfg.get("conv_pos", 128),
            "pos_groups": cfg.get("conv_pos_groups", 16),
            "buckets": cfg.get("num_buckets", 320),
            "max_distance": cfg.get("max_distance", 800),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise VocolabError(f"incomplete configuration ({error})", where, "give an official WavLM file") from error
    if not cfg.get("relative_position_embedding", True) or not cfg.get("gru_rel_pos", True):
        raise VocolabError("no gated relative positions in the configuration", where, "give an official WavLM file")
    return _checked({**given, "conv_dim": conv_dim, "conv_kernel": conv_kernel, "conv_stride": conv_stride}, where)


def _checked(given: dict[str, Any], where: object) -> WavLMShape:
    try:
        sizes: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        shape = WavLMShape(**sizes)
        sound = shape.dim % shape.heads == 0 == shape.dim % shape.pos_groups
        sound = sound and len(shape.conv_dim) == len(shape.conv_kernel) == len(shape.conv_stride) > 0
    except (TypeError, ZeroDivisionError) as error:
        raise VocolabError(f"unusable configuration ({error})", where, "replace the file") from error
    if not sound:
        raise VocolabError("unusable configuration (sizes do not divide)", where, "replace the file")
    return shape


def _rename(name: str, depth: int) -> str | None:
    """Our name of a checkpoint's tensor; None for what is not needed."""
    name = name.removeprefix("wavlm.")
    for pattern, ours in _NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            block = re.fullmatch(r"blocks\.(\d+)\..*", match.expand(ours))
            return None if block and int(block[1]) >= depth else match.expand(ours)
    return None


def _fold(tensors: dict[str, Tensor], shape: WavLMShape) -> dict[str, Tensor]:
    """Tensors as `WavLMNetwork` holds them: whatever does not depend on the input is computed here, once."""
    folded = {}
    for name, tensor in tensors.items():
        if re.fullmatch(r"convolutions\.\d+\.weight", name):
            tensor = tensor.transpose(1, 2).flatten(1)  # (out, in, kernel) -> (out, kernel · in)
        elif name.endswith(("gate.weight", "gate.bias")):
            tensor = tensor.unflatten(0, (2, -1)).float().sum(1)
        elif name.endswith("gate_scale"):
            tensor = tensor.reshape(-1, 1, 1)
        elif shape.group_norm and name.startswith("convolutions.0.norm."):
            name = name.replace("convolutions.0.norm", "group_norm")
        folded[name] = tensor
    direction, magnitude = folded.pop("position.weight_v", None), folded.pop("position.weight_g", None)
    if direction is not None and magnitude is not None:
        direction, magnitude = direction.float(), magnitude.float()
        weight = magnitude * direction / direction.norm(dim=(0, 1), keepdim=True)  # weight norm over the kernel's steps
        folded["position.spectrum"] = PositionalConvolution.transform(weight, shape.pos_groups)
    return folded
