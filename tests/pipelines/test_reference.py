"""kNN-VC's whole order of work, written anew with other packages, gives our waveform: features by transformers, voice
activity and loudness by torchaudio, and the rest in plain PyTorch from the official file's tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.encoders.test_wavlm import official_name
from vocolab import _compat, audio
from vocolab.cli import main
from vocolab.pipelines import KNNVC
from vocolab.vocoders import HiFiGAN

RATES, KERNELS = (10, 8, 2, 2), (20, 16, 4, 4)


@dataclass
class Sizes:
    dim: int
    depth: int
    heads: int
    ffn: int
    conv: int
    position: tuple[int, int]  # kernel, groups
    buckets: tuple[int, int]  # number, longest distance
    projection: int
    channels: int


SMALL = Sizes(48, 8, 4, 96, 32, (32, 4), (40, 60), 16, 32)
LARGE = Sizes(1024, 24, 16, 4096, 512, (128, 16), (320, 800), 512, 512)


class Reference:
    """kNN-VC of random weights; `folder` holds them as `WavLM-Large.pt` and `g_02500000.pt`."""

    def __init__(self, sizes: Sizes, folder: Path):
        self.torchaudio = _compat.torchaudio()
        self.encoder = self._wavlm(sizes, folder / "WavLM-Large.pt")
        torch.manual_seed(1)
        self.vocoder = HiFiGAN(sizes.dim, sizes.projection, sizes.channels).state_dict()
        self._enliven()
        torch.save({"generator": self.vocoder}, folder / "g_02500000.pt")

    def _enliven(self) -> None:
        """Give each convolution about the gain 1, and the whole the loudness of speech: an untrained vocoder whispers,
        and what it is given hardly counts.
        """
        for name, value in self.vocoder.items():
            if name.endswith("bias"):
                value.mul_(0.1)
            elif name.endswith("weight_g"):
                stage = name.split(".")[1] if name.startswith("ups") else None
                value.fill_(0.5 if name.startswith("resblocks") else 1.4)
                if stage is not None:  # of each input, spread over as many outputs as the rate
                    value.mul_((RATES[int(stage)] / 2) ** 0.5)
        for _ in range(2):
            loud = self.vocode(torch.randn(1, 50, self.vocoder["lin_pre.weight"].shape[1]))
            self.vocoder["conv_post.weight_g"] *= 0.1 / loud.square().mean().sqrt()

    def _wavlm(self, sizes: Sizes, path: Path) -> nn.Module:
        from transformers import WavLMConfig, WavLMModel

        config = WavLMConfig(
            hidden_size=sizes.dim,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.heads,
            intermediate_size=sizes.ffn,
            conv_dim=(sizes.conv,) * 7,
            num_conv_pos_embeddings=sizes.position[0],
            num_conv_pos_embedding_groups=sizes.position[1],
            num_buckets=sizes.buckets[0],
            max_bucket_distance=sizes.buckets[1],
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
        )
        torch.manual_seed(0)
        model = WavLMModel(config).eval()
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or "rel_" in name:  # those that begin without effect
                nn.init.normal_(parameter, 1.0 if "norm.weight" in name else 0.0, 0.2)
        cfg = {
            "extractor_mode": "layer_norm",
            "encoder_layers": sizes.depth,
            "encoder_embed_dim": sizes.dim,
            "encoder_ffn_embed_dim": sizes.ffn,
            "encoder_attention_heads": sizes.heads,
            "layer_norm_first": True,
            "conv_feature_layers": f"[({sizes.conv},10,5)] + [({sizes.conv},3,2)] * 4 + [({sizes.conv},2,2)] * 2",
            "normalize": True,
            "conv_pos": sizes.position[0],
            "conv_pos_groups": sizes.position[1],
            "relative_position_embedding": True,
            "num_buckets": sizes.buckets[0],
            "max_distance": sizes.buckets[1],
            "gru_rel_pos": True,
        }
        state = {official_name(name): tensor for name, tensor in model.state_dict().items()}
        torch.save({"cfg": cfg, "model": state}, path)
        return model

    @torch.no_grad()
    def get_features(self, path: Path, weights: Tensor | None = None, vad_trigger_level: float = 0) -> Tensor:
        """(L, C): the weighted sum of what goes into the first block and what comes out of each; by default layer 6."""
        wav = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        if vad_trigger_level > 1e-3:
            for _ in range(2):
                wav = self.torchaudio.functional.vad(wav, 16000, trigger_level=vad_trigger_level).flip(-1)
        outputs: list[Tensor] = []
        blocks = self.encoder.encoder.layers
        hooks = [blocks[0].register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0][0]))]
        hooks += [block.register_forward_hook(lambda *args: outputs.append(args[2][0][0])) for block in blocks]
        self.encoder(wav[None])
        for hook in hooks:
            hook.remove()
        layers = torch.stack(outputs)
        weights = F.one_hot(torch.tensor(6), len(layers)).float()[:, None] if weights is None else weights
        return (layers * weights[:, None]).sum(0)

    def get_matching_set(self, paths: list[Path], weights: Tensor | None, vad_trigger_level: float) -> Tensor:
        return torch.cat([self.get_features(path, weights, vad_trigger_level) for path in paths])

    def match(self, query: Tensor, matching: Tensor, topk: int = 4) -> Tensor:
        """(T,), its loudness unchanged."""
        norms = query.norm(dim=1)[:, None] * matching.norm(dim=1)
        nearest = (1 - query @ matching.T / norms).topk(topk, largest=False).indices
        return self.vocode(matching[nearest].mean(1)[None])[0]

    def normalize(self, wav: Tensor, target: float) -> Tensor:
        functional = self.torchaudio.functional
        return functional.gain(wav, float(target - functional.loudness(wav[None], 16000)))

    @torch.no_grad()
    def vocode(self, feats: Tensor) -> Tensor:
        """Features (B, L, C) -> (B, 320·L)."""
        state = self.vocoder

        def weight(name: str) -> Tensor:
            v = state[f"{name}.weight_v"]
            return state[f"{name}.weight_g"] * v / v.flatten(1).norm(dim=1)[:, None, None]

        def conv(name: str, x: Tensor, dilation: int = 1) -> Tensor:
            w = weight(name)
            pad = dilation * (w.shape[2] - 1) // 2
            return F.conv1d(x, w, state[f"{name}.bias"], padding=pad, dilation=dilation)

        x = F.linear(feats, state["lin_pre.weight"], state["lin_pre.bias"]).transpose(1, 2)
        x = conv("conv_pre", x)
        for stage, (rate, kernel) in enumerate(zip(RATES, KERNELS, strict=True)):
            name, x = f"ups.{stage}", F.leaky_relu(x, 0.1)
            x = F.conv_transpose1d(x, weight(name), state[f"{name}.bias"], rate, (kernel - rate) // 2)
            total = torch.zeros(())
            for block in range(3 * stage, 3 * stage + 3):
                y = x
                for number, dilation in enumerate((1, 3, 5)):
                    z = conv(f"resblocks.{block}.convs1.{number}", F.leaky_relu(y, 0.1), dilation)
                    y = y + conv(f"resblocks.{block}.convs2.{number}", F.leaky_relu(z, 0.1))
                total = total + y
            x = total / 3
        return torch.tanh(conv("conv_post", F.leaky_relu(x, 0.01)))[:, 0]


@pytest.fixture(scope="module")
def speech(tmp_path_factory, builtin_corpus) -> list[Path]:
    """A source and two references of another speaker, as 16 kHz WAV."""
    folder = tmp_path_factory.mktemp("speech")
    found = [sorted(builtin_corpus.glob(f"synth/{speaker}/*/*.opus"))[0] for speaker in (3001, 3002)]
    found.append(sorted(builtin_corpus.glob("synth/3002/*/*.opus"))[1])
    paths = [folder / f"{number}.wav" for number in range(3)]
    for path, target in zip(found, paths, strict=True):
        wav, rate = soundfile.read(path)
        assert rate == 16000
        soundfile.write(target, wav, rate, "FLOAT")
    # `convert` silences long pauses of its source, which kNN-VC does not know: this source has none.
    assert not audio.silences(audio.read(paths[0])[0], 16000)
    return paths


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Reference, Path]:
    folder = tmp_path_factory.mktemp("small")
    return Reference(SMALL, folder), folder


def hold(reference: Reference, folder: Path, speech: list[Path], target: Path, vad: float) -> None:
    """By the Python interface and by the command."""
    source, *references = speech
    query, matching = reference.get_features(source), reference.get_matching_set(references, None, vad)
    expected = reference.match(query, matching)
    assert 0.03 < expected.std() < 0.3

    vc = KNNVC.from_checkpoint(folder / "g_02500000.pt", folder / "WavLM-Large.pt")
    assert vc.encoder.shape.dim == query.shape[1]
    ours = vc.get_matching_set(references, vad_trigger_level=vad)
    assert ours.shape == matching.shape
    wav = vc.match(vc.get_features(source), ours, tgt_loudness_db=-30)
    torch.testing.assert_close(wav, reference.normalize(expected, -30), atol=1e-4, rtol=0)

    flags = ["--checkpoint", folder / "g_02500000.pt", "--encoder", folder / "WavLM-Large.pt", "--vad-trim", vad]
    args = ["convert", source, "--ref", *references, *flags, "--loudness", "none", "--device", "cpu", "-o", target]
    assert main([str(arg) for arg in args]) == 0
    made = torch.from_numpy(soundfile.read(target, dtype="float32")[0])
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)  # the file's 16 bits are 3e-5


@pytest.mark.parametrize("vad", [0, 7])
def test_the_same_waveform(small, speech, tmp_path, vad):
    hold(*small, speech, tmp_path / "out.wav", vad)


def test_layers_weighted(small, speech):
    reference, folder = small
    vc = KNNVC.from_checkpoint(folder / "g_02500000.pt", folder / "WavLM-Large.pt")
    weights = torch.randn(9, 1, generator=torch.Generator().manual_seed(2))
    source, *references = speech
    query, matching = reference.get_features(source, weights), reference.get_matching_set(references, weights, 7)
    ours = vc.get_features(source, weights), vc.get_matching_set(references, weights)
    for one, other in zip(ours, (query, matching), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    wav = vc.match(*ours, tgt_loudness_db=None)
    torch.testing.assert_close(wav, reference.match(query, matching), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_same_waveform_at_the_true_sizes(speech, tmp_path):
    hold(Reference(LARGE, tmp_path), tmp_path, speech, tmp_path / "out.wav", 7)
