"""Speech encoders of the Hugging Face hub as frame features, run by transformers."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab import _compat, weights
from vocolab.encoders.base import Encoder
from vocolab.encoders.wavlm_blocks import WavLMShape
from vocolab.errors import VocolabError
from vocolab.extras import required

WAVEFORM = ("data2vec-audio", "hubert", "wav2vec2")  # XLS-R is a wav2vec2
FILTERBANK = "wav2vec2-bert"
RATE = 16000
MEL_WINDOW, MEL_HOP, MELS = 400, 160, 80  # samples, samples and bands of w2v-BERT's filterbank


class Front(ABC):
    """What a model hears of a recording, of which it makes a frame every `hop` samples."""

    hop: int
    min_samples: int

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames of `samples` samples."""

    @abstractmethod
    def padding(self, samples: int) -> int:
        """Zeros to append so that exactly `samples // hop` frames come out."""

    @abstractmethod
    def inputs(self, wav: Tensor) -> Tensor:
        """The whole of a recording, float32 (T,), as the model hears it."""

    @abstractmethod
    def cut(self, inputs: Tensor, start: int, stop: int, last: bool) -> Tensor:
        """Of `inputs`, what frames [start, stop) are made of; `last`: they reach to the end."""


class Waveform(Front):
    """The waveform, brought to mean 0 and variance 1 where the model was trained so."""

    def __init__(self, config: dict[str, Any], normalize: bool):
        self.shape = WavLMShape(conv_kernel=tuple(config["conv_kernel"]), conv_stride=tuple(config["conv_stride"]))
        self.normalize, self.hop, self.min_samples = normalize, self.shape.hop, self.shape.receptive_field

    def frames(self, samples: int) -> int:
        return max(0, self.shape.frames(samples))

    def padding(self, samples: int) -> int:
        return self.hop - samples % self.hop

    def inputs(self, wav: Tensor) -> Tensor:
        if not self.normalize:
            return wav
        variance, mean = torch.var_mean(wav, correction=0)
        return (wav - mean) * (variance + 1e-7).rsqrt()

    def cut(self, inputs: Tensor, start: int, stop: int, last: bool) -> Tensor:
        return inputs[start * self.hop : None if last else (stop - 1) * self.hop + self.min_samples]


class Filterbank(Front):
    """Log-mel energies of two neighbouring windows a frame, each band brought to mean 0 and variance 1 (w2v-BERT)."""

    hop = 2 * MEL_HOP
    min_samples = MEL_WINDOW + MEL_HOP

    def frames(self, samples: int) -> int:
        return max(0, 1 + (samples - MEL_WINDOW) // MEL_HOP) // 2

    def padding(self, samples: int) -> int:
        return max(0, samples // self.hop * self.hop + self.min_samples - self.hop - samples)

    def inputs(self, wav: Tensor) -> Tensor:
        samples = wav.cpu().numpy()
        # Without padding to pairs, a window that is left over is dropped: it would make half a frame.
        heard = self._extractor(samples, sampling_rate=RATE, pad_to_multiple_of=None, return_tensors="np")
        return torch.from_numpy(np.ascontiguousarray(heard["input_features"][0])).to(wav.device)  # (L, 2 · mels)

    def cut(self, inputs: Tensor, start: int, stop: int, last: bool) -> Tensor:
        return inputs[start:stop]

    @functools.cached_property
    def _extractor(self) -> Any:
        _compat.torchaudio()
        with required("transformers", "w2v-BERT"):
            from transformers import SeamlessM4TFeatureExtractor
        return SeamlessM4TFeatureExtractor()


class HuggingFace(Encoder):
    """Features of block `layer` of a HuBERT, wav2vec 2.0, XLS-R, data2vec or w2v-BERT 2.0 (Hugging Face's
    `hidden_states[layer]`, without the LayerNorm that follows the last block).

    checkpoint: a Hugging Face folder or hub name. Layer 0 is the input of the first block; only the layers asked for
    are read and run. `normalize`: bring each utterance to mean 0 and variance 1 first; None: as the checkpoint's
    preprocessor_config.json says. Rows of a batch are run one after the other: some of these models look at a whole
    row, padding included. In a stream each window is normalised for itself, not as part of what came before.
    """

    sample_rate = RATE

    def __init__(
        self, checkpoint: str | Path = "facebook/hubert-large-ll60k", layer: int = 9, normalize: bool | None = None
    ):
        super().__init__()
        self.checkpoint, self.layer, self.normalize = checkpoint, layer, normalize
        self.network: nn.Module | None = None

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        path = weights.find_file(self.checkpoint, ["config.json"])
        config = weights.read_json(path)
        kind = str(config.get("model_type"))
        if kind not in (*WAVEFORM, FILTERBANK):
            own = {"wavlm": "choose the class WavLM", "whisper": "choose the class Whisper"}
            raise VocolabError(f"a {kind} model", path, own.get(kind, f"give a {', '.join(WAVEFORM)} or {FILTERBANK}"))
        missing = {"hidden_size", "num_hidden_layers"} - config.keys()
        missing |= {"conv_kernel", "conv_stride"} - config.keys() if kind in WAVEFORM else set()
        if missing:
            raise VocolabError(f"incomplete configuration (no {min(missing)})", path, "replace the file")
        only = {"conv_pos_batch_norm": False, "position_embeddings_type": "relative_key"}
        only |= {"feature_projection_input_dim": 2 * MELS}
        for name, value in only.items():
            if config.get(name, value) != value:
                raise VocolabError(f"{name} {config[name]}", path, f"choose a model with {value}")
        return config

    @functools.cached_property
    def front(self) -> Front:
        return Filterbank() if self.config["model_type"] == FILTERBANK else Waveform(self.config, self._normalizes())

    @functools.cached_property
    def weights_file(self) -> Path:
        return weights.find_file(self.checkpoint, weights.FILES)

    @property
    def dim(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return int(self.config["hidden_size"])

    @property
    def depth(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return int(self.config["num_hidden_layers"])

    @property
    def hop(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.front.hop

    @property
    def min_samples(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.front.min_samples

    def load(self, layers: Sequence[int] | None = None) -> Self:
        self._loaded(self._layers_or_default(layers, self.depth))
        return self

    def layers(self, wav: Tensor, lengths: Tensor | None = None, layers: Sequence[int] | None = None) -> list[Tensor]:
        lengths = self._check(wav, lengths)
        wanted = self._layers_or_default(layers, self.depth)
        total = self.frames(wav.shape[1])
        rows = []
        for row, length in zip(wav, lengths.tolist(), strict=True):
            outputs = self._encode(self.front.inputs(row[:length].float()), wanted)
            rows.append([F.pad(feats, (0, 0, 0, total - len(feats))) for feats in outputs])
        return [torch.stack(feats) for feats in zip(*rows, strict=True)]

    def encode_pieces(self, wav: Tensor, layers: Sequence[int] | None = None) -> Iterator[list[Tensor]]:
        """As in the base class; what is heard is normalised over the whole recording, so only the network is cut."""
        self._check(wav[None], None)
        wanted = self._layers_or_default(layers, self.depth)
        inputs, frames = self.front.inputs(wav.float()), self.frames(len(wav))
        for start, first, last, stop in self._pieces(frames):
            outputs = self._encode(self.front.cut(inputs, start, stop, stop == frames), wanted)
            yield [feats[first - start : last - start] for feats in outputs]

    def frames(self, samples: int) -> int:
        return self.front.frames(samples)

    def alignment_padding(self, samples: int) -> int:
        return self.front.padding(samples)

    def fingerprint(self) -> dict[str, Any]:
        normalizes = {} if self.config["model_type"] == FILTERBANK else {"normalizes": self._normalizes()}
        return {"weights": self._digest} | normalizes

    @functools.cached_property
    def _digest(self) -> str:
        return weights.sha256(self.weights_file)

    def _normalizes(self) -> bool:
        if self.normalize is not None:
            return self.normalize
        try:
            path = weights.find_file(self.checkpoint, ["preprocessor_config.json"])
        except VocolabError as error:
            remedy = "add the file, or set --data.encoder.normalize true or false, as the model was trained"
            raise VocolabError(
                "no preprocessor_config.json, which says what it hears", self.checkpoint, remedy
            ) from error
        about = weights.read_json(path)
        if about.get("sampling_rate", RATE) != RATE:
            raise VocolabError(f"a model of {about['sampling_rate']} Hz", path, f"choose one of {RATE} Hz")
        return bool(about.get("do_normalize", True))

    def _encode(self, inputs: Tensor, wanted: list[int]) -> list[Tensor]:
        """Outputs (L, dim) of the `wanted` blocks for what the front made of a recording, or of a piece of one."""
        network, found = self._loaded(wanted), {}

        def keep(index: int, value: Any) -> None:
            found[index] = value[0] if isinstance(value, tuple) else value

        blocks = network.encoder.layers
        hooks = [blocks[0].register_forward_pre_hook(lambda _, args: keep(0, args))] if 0 in wanted else []
        for layer in {*wanted} - {0}:
            hooks.append(blocks[layer - 1].register_forward_hook(lambda _, __, out, layer=layer: keep(layer, out)))
        try:
            with torch.no_grad():
                network(inputs[None].to(self.placement.dtype))
        finally:
            for hook in hooks:
                hook.remove()
        return [found[layer][0] for layer in wanted]

    def _loaded(self, layers: list[int]) -> Any:
        """The network, at least up to the deepest of `layers`."""
        depth = max([1, *layers])
        if self.network is None or len(self.network.encoder.layers) < depth:  # type: ignore[union-attr, arg-type]
            network = self._built(depth)
            names = dict(network.named_parameters())
            rename = functools.partial(_rename, prefix=network.base_model_prefix, names=names)
            tensors = weights.read_tensors(self.weights_file, rename)
            self.network = weights.fill(network, tensors, self.weights_file).to(self.placement)
        return self.network

    def _built(self, depth: int) -> Any:
        """The first `depth` blocks, without weights, and without what only its training needs."""
        _compat.torchaudio()
        with required("transformers", self.checkpoint):
            from transformers import AutoConfig, AutoModel
        settings = {
            k: v for k, v in self.config.items() if k not in ("model_type", "architectures", "transformers_version")
        }
        settings |= {"num_hidden_layers": depth, "add_adapter": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
        try:
            with torch.device("meta"):
                return AutoModel.from_config(AutoConfig.for_model(self.config["model_type"], **settings))
        except (ValueError, TypeError, KeyError) as error:
            what = f"unusable configuration ({str(error).splitlines()[0]})"
            raise VocolabError(what, self.checkpoint, "replace its config.json") from error


def _rename(name: str, prefix: str, names: dict[str, Any]) -> str | None:
    """The network's name of a checkpoint's tensor, which may be that of a larger model or of an older time; None for
    what the network does not have.
    """
    name = name.removeprefix(f"{prefix}.")
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if name.endswith(f"conv.{old}"):
            name = name.removesuffix(old) + f"parametrizations.weight.{new}"
    return name if name in names else None
