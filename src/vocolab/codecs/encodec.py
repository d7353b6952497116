"""EnCodec (Défossez et al. 2022): a neural codec of residual vector quantisation."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vocolab import _compat, weights
from vocolab.checks import check_codes, check_waveforms
from vocolab.codecs.base import Codec, keeping_precision
from vocolab.codecs.streaming import Decoding, InWindows
from vocolab.codecs.vocos import VocosDecoder, load_vocos
from vocolab.errors import UsageError, VocolabError
from vocolab.extras import required

if TYPE_CHECKING:
    from transformers import EncodecModel


@dataclass(frozen=True)
class EnCodecShape:
    """Sizes of the model; the defaults are those of the 24 kHz model."""

    sample_rate: int = 24000
    filters: int = 32
    dim: int = 128
    ratios: tuple[int, ...] = (8, 5, 4, 2)
    size: int = 1024
    levels: int = 32  # codebooks in the weights

    @property
    def hop(self) -> int:
        return math.prod(self.ratios)

    @property
    def level_kbps(self) -> float:
        """kbit/s of one codebook."""
        return math.log2(self.size) * self.sample_rate / self.hop / 1000


# Sizes that need no file, so that the sizes of a recipe's language model are known without network.
PUBLISHED = {"facebook/encodec_24khz": EnCodecShape()}

# The encodec package's names of tensors, and Hugging Face's.
_NAMES = [
    (r"(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(?:conv\.conv|convtr\.convtr)\.", r".conv."),
    (r"quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
    (r"\.weight_g$", r".parametrizations.weight.original0"),
    (r"\.weight_v$", r".parametrizations.weight.original1"),
]
_SHORT = 7  # frames; of a shorter row, the mirrored start reaches past the end


@dataclass
class _Networks:
    """What `load` reads."""

    encodec: EncodecModel
    vocos: VocosDecoder | None  # decodes instead of EnCodec's own decoder


class EnCodec(Codec):
    """EnCodec's causal mono model: 24 kHz, a frame every 320 samples, codebooks of 1024; 1.5/3/6 kbps = 2/4/8 levels.

    checkpoint: a Hugging Face folder or hub name, or the encodec package's file (`encodec_24khz-d7cc33bc.th`); the
    same weights give the same codes from both. bandwidth: kbit/s, a whole number of codebooks. decoder: a Vocos trained
    on these codes (a file, folder or hub name such as `charactr/vocos-encodec-24khz`), instead of EnCodec's own.
    Codes are those of the public model on the row's whole frames: samples beyond the last are dropped, so a frame is
    always `hop` samples and no frame depends on padding. The networks' weights are in no state dict of the codec.
    """

    licence = "CC-BY-NC-4.0"
    placement: Tensor

    def __init__(
        self,
        checkpoint: str | Path = "facebook/encodec_24khz",
        bandwidth: float = 6.0,
        decoder: str | Path | None = None,
    ):
        super().__init__()
        self.checkpoint, self.bandwidth, self.decoder = checkpoint, bandwidth, decoder
        # Weights are read later. This empty buffer moves with the codec and so keeps the device and type for them.
        self.register_buffer("placement", torch.empty(0), persistent=False)
        self._networks: _Networks | None = None  # not submodules: see `_apply`

    def _apply(self, fn: Callable, recurse: bool = True) -> Self:
        """Move the networks along, though they are not submodules: their weights are neither trained nor saved here."""
        if self._networks is not None:
            self._networks.encodec._apply(keeping_precision(fn))
            if self._networks.vocos is not None:
                self._networks.vocos._apply(keeping_precision(fn))
        return super()._apply(fn, recurse)

    @functools.cached_property
    def shape(self) -> EnCodecShape:
        if str(self.checkpoint) in PUBLISHED and not Path(self.checkpoint).exists():
            return PUBLISHED[str(self.checkpoint)]
        if self._is_file:
            return shape_of_tensors(weights.read_tensors(self.weights_file, rename), self.weights_file)
        path = weights.find_file(self.checkpoint, ["config.json"])
        return shape_of_config(weights.read_json(path), path)

    @property
    def levels(self) -> int:  # type: ignore[override] # read-only: it follows from the bandwidth
        levels = self.bandwidth / self.shape.level_kbps
        if not 1 <= round(levels) <= self.shape.levels or abs(levels - round(levels)) > 1e-6:
            some = ", ".join(f"{self.shape.level_kbps * k:g}" for k in (2, 4, 8, 16) if k <= self.shape.levels)
            remedy = f"give a multiple of {self.shape.level_kbps:g} kbps, such as {some}"
            raise UsageError(f"bandwidth {self.bandwidth:g}", "EnCodec", remedy)
        return round(levels)

    @property
    def size(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.size

    @property
    def sample_rate(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.sample_rate

    @property
    def hop(self) -> int:  # type: ignore[override] # read-only: it follows from the file
        return self.shape.hop

    @functools.cached_property
    def weights_file(self) -> Path:
        if not self._is_file:
            return weights.find_file(self.checkpoint, weights.FILES)
        path = Path(self.checkpoint).expanduser()
        if not path.is_file():
            raise VocolabError("no such checkpoint", path, "check the path, or name a hub model as OWNER/NAME")
        return path

    def load(self) -> Self:
        self._loaded()
        return self

    def _loaded(self) -> _Networks:
        """The networks, read when first asked for."""
        if self._networks is None:
            network = build_network(self.shape)
            fill(network, weights.read_tensors(self.weights_file, rename), self.weights_file)
            vocos = None if self.decoder is None else self._load_vocos(self.decoder).to(self.placement)
            self._networks = _Networks(nn.Module.to(network, self.placement), vocos)
        return self._networks

    def _load_vocos(self, decoder: str | Path) -> VocosDecoder:
        vocos = load_vocos(decoder, self.size, self.hop)
        if vocos.levels < self.levels:
            what = f"a Vocos of {vocos.levels} levels for a codec of {self.levels}"
            raise VocolabError(what, decoder, "lower the bandwidth, or leave out the decoder")
        return vocos

    def frames(self, samples: int) -> int:
        return samples // self.hop

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        counts = (check_waveforms(wav, lengths, self.hop, self.sample_rate, "EnCodec") // self.hop).tolist()
        network = self._loaded().encodec
        quantizers: Any = network.quantizer.layers[: self.levels]
        codes = wav.new_zeros(len(wav), self.levels, max(counts, default=0), dtype=torch.long)
        for rows, frames in _together(counts):
            hidden = network.encoder(wav[rows, None, : frames * self.hop].to(self.placement.dtype))  # (b, dim, frames)
            for level, quantizer in enumerate(quantizers):
                codes[rows, level, :frames] = quantizer.encode(hidden)  # (b, frames)
                hidden = hidden - quantizer.decode(codes[rows, level, :frames])
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        check_codes(codes, self.levels, self.size, "EnCodec")
        networks = self._loaded()
        if networks.vocos is not None:
            return networks.vocos(codes).clamp(-1, 1)
        hidden = networks.encodec.quantizer.decode(codes.transpose(0, 1))  # (B, dim, L)
        return networks.encodec.decoder(hidden)[:, 0].float().clamp(-1, 1)

    def decoding(self) -> Decoding:
        networks = self._loaded()
        if networks.vocos is not None:
            return InWindows(self.decode, networks.vocos.context, self.hop)
        from vocolab.codecs.encodec_stream import CausalDecoding

        return CausalDecoding(networks.encodec)

    def fingerprint(self) -> dict[str, Any]:
        """The digest of the weights, the same for the same weights in either layout."""
        return {"weights": self._digest}

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        # A codebook is its `embed`; its other tensors serve training alone.
        parts = re.compile(r"(?:encoder|decoder)\..*|quantizer\..*\.embed")
        tensors = weights.read_tensors(
            self.weights_file, lambda name: new if parts.fullmatch(new := rename(name)) else None
        )
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].float().contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def _is_file(self) -> bool:
        """Whether the checkpoint is the encodec package's file, rather than a folder or a hub name."""
        path = Path(self.checkpoint).expanduser()
        return path.suffix in (".th", ".pt", ".bin", ".safetensors") or path.is_file()


def rename(name: str) -> str:
    """Hugging Face's name of a tensor, from the encodec package's or its own."""
    for old, new in _NAMES:
        name = re.sub(old, new, name)
    return name


def shape_of_config(config: dict[str, Any], where: object) -> EnCodecShape:
    """From the config.json of a Hugging Face folder."""
    if config.get("model_type") != "encodec":
        raise VocolabError(f"a {config.get('model_type')} model, not EnCodec", where, "choose an EnCodec model")
    if config.get("audio_channels", 1) != 1 or not config.get("use_causal_conv", True) or config.get("normalize"):
        raise VocolabError("not the causal mono EnCodec", where, "choose facebook/encodec_24khz or one of its kind")
    try:
        rate, size = int(config["sampling_rate"]), int(config["codebook_size"])
        ratios = tuple(int(ratio) for ratio in config["upsampling_ratios"])
        kbps = max(float(bandwidth) for bandwidth in config["target_bandwidths"])
        shape = EnCodecShape(rate, int(config["num_filters"]), int(config["hidden_size"]), ratios, size)
        return EnCodecShape(**{**vars(shape), "levels": int(kbps / shape.level_kbps + 1e-6)})
    except (KeyError, TypeError, ValueError) as error:
        raise VocolabError(f"incomplete configuration ({error})", where, "replace the file") from error


def shape_of_tensors(tensors: Mapping[str, Tensor], where: object) -> EnCodecShape:
    """From the tensors of the encodec package's file. It does not state its rate, which is taken to be 24 kHz."""
    first, book = "encoder.layers.0.conv.parametrizations.weight.original1", "quantizer.layers.{}.codebook.embed"
    if first not in tensors or book.format(0) not in tensors:
        raise VocolabError("not EnCodec's weights", where, "give encodec_24khz-d7cc33bc.th or a Hugging Face folder")
    filters, channels, _ = tensors[first].shape
    size, dim = tensors[book.format(0)].shape
    if channels != 1:
        raise VocolabError("not the causal mono EnCodec", where, "choose the 24 kHz model")
    strided = re.compile(r"decoder\.layers\.(\d+)\.conv\.parametrizations\.weight\.original1")
    kernels = {int(m[1]): tensors[name].shape for name in tensors if (m := strided.fullmatch(name))}
    # Transposed convolutions have a kernel of twice their stride; the others an odd one.
    ratios = tuple(shape[2] // 2 for _, shape in sorted(kernels.items()) if shape[2] % 2 == 0)
    levels = sum(book.format(level) in tensors for level in range(len(tensors)))
    return EnCodecShape(24000, filters, dim, ratios, size, levels)


def build_network(shape: EnCodecShape) -> EncodecModel:
    """transformers' EnCodec of these sizes, with random weights."""
    _compat.torchaudio()
    with required("transformers", "EnCodec"):
        from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(
        target_bandwidths=[shape.level_kbps * shape.levels],
        sampling_rate=shape.sample_rate,
        num_filters=shape.filters,
        hidden_size=shape.dim,
        upsampling_ratios=list(shape.ratios),
        codebook_size=shape.size,
    )
    return EncodecModel(config)


def fill(network: nn.Module, tensors: dict[str, Tensor], where: object) -> None:
    """Load tensors of Hugging Face's names, for inference. Raises `VocolabError` where they are not `network`'s."""
    own = network.state_dict()
    weights.require(own, tensors, where)
    network.load_state_dict({name: tensors[name] for name in own})
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")  # every call would compute it again
    network.requires_grad_(False).eval()


def _together(frames: list[int]) -> Iterator[tuple[list[int], int]]:
    """(rows, frames) to encode at once, of rows with these numbers of frames. The network is causal, so the padding
    after a row does not change its codes; but it mirrors the start, and the mirror image of a short row's start would
    reach into the padding, so such a row is encoded alone.
    """
    short = [row for row, count in enumerate(frames) if count < _SHORT]
    rest = [row for row, count in enumerate(frames) if count >= _SHORT]
    yield from (([row], frames[row]) for row in short)
    if rest:
        yield rest, max(frames[row] for row in rest)
