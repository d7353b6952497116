"""A tiny EnCodec with random weights, saved in both layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vocolab import _compat, audio
from vocolab.codecs.encodec import rename


@pytest.fixture(scope="session")
def utterances(builtin_corpus: Path) -> list[Tensor]:
    """Real speech at 16 kHz: the same six sentences in two voices."""
    files = [f for voice in (3001, 3004) for f in sorted(builtin_corpus.glob(f"synth/{voice}/*/*.opus"))[:6]]
    return [audio.read(file, 16000)[0] for file in files]


@pytest.fixture(scope="session")
def public_encodec() -> nn.Module:
    """The encodec package's model in small (the same layout, levels and codes), its codebooks spread over what its
    encoder says.
    """
    return tiny_encodec()


@pytest.fixture(scope="session")
def encodec_file(public_encodec: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights as the encodec package saves them."""
    path = tmp_path_factory.mktemp("encodec") / "tiny.th"
    torch.save(public_encodec.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def encodec_folder(public_encodec: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights as a Hugging Face folder."""
    path = tmp_path_factory.mktemp("encodec-hf")
    _compat.torchaudio()
    from transformers import EncodecConfig, EncodecModel

    model = EncodecModel(EncodecConfig(target_bandwidths=[3.0, 6.0], num_filters=2, hidden_size=16))
    model.load_state_dict({rename(name): value for name, value in public_encodec.state_dict().items()})
    model.save_pretrained(path)
    return path


def tiny_encodec(levels: int = 8) -> nn.Module:
    _compat.torchaudio()
    from encodec import EncodecModel
    from encodec.modules import SEANetDecoder, SEANetEncoder
    from encodec.quantization import ResidualVectorQuantizer

    torch.manual_seed(0)
    sizes = {"channels": 1, "dimension": 16, "n_filters": 2, "causal": True, "norm": "weight_norm"}
    quantizer = ResidualVectorQuantizer(dimension=16, n_q=levels, bins=1024)
    model = EncodecModel(SEANetEncoder(**sizes), SEANetDecoder(**sizes), quantizer, [3.0, 6.0], 24000, 1).eval()
    model.set_target_bandwidth(6.0)
    with torch.no_grad():
        noise = 0.3 * torch.randn(1, 1, 1024 * 320)
        hidden, last = model.encoder(noise)[0].T, model.encoder.model[-1].conv.conv
        # What it says must vary by more than rounding does.
        last.bias.sub_(hidden.mean(dim=0)).div_(hidden.std(dim=0))
        last.weight_g.div_(hidden.std(dim=0)[:, None, None])
        hidden = model.encoder(noise)[0].T  # (1024, 16)
        for level, layer in enumerate(model.quantizer.vq.layers):
            layer._codebook.inited.fill_(1)
            noise = torch.randn(1024, 16) * hidden.std(dim=0) * 0.7**level
            layer._codebook.embed.copy_(hidden if level == 0 else noise)
    return model
