"""A small untrained language model of the codes of a small fitted codec, as the checkpoint of a run."""

from __future__ import annotations

from pathlib import Path

import torch

import vocolab
from vocolab import _compat, audio
from vocolab.codecs import Codec, EnCodec, KMeansCodec
from vocolab.encoders import Whisper
from vocolab.lm import AR, NAR, LanguageModel, Split
from vocolab.lm.backbones.transformer import Transformer
from vocolab.parts import describe
from vocolab.text import Characters, Text
from vocolab.vocoders import Vocos

CORPUS = Path(vocolab.__file__).parent / "assets" / "corpus"
SPEECH = sorted((CORPUS / "synth" / "3001").glob("*/*.opus"))
OTHER = sorted((CORPUS / "synth" / "3002").glob("*/*.opus"))
SYMBOLS = ["<unk>", "<s>", "</s>", " ", *"'.,abcdefghijklmnopqrstuvwxyz"]


def codec() -> KMeansCodec:
    """Fitted to four sentences, with an untrained vocoder: 25 frames a second, 3 levels of 16."""
    torch.manual_seed(0)
    found = KMeansCodec(Whisper(layer=1), levels=3, size=16)
    found.fit([audio.read(path, 16000)[0] for path in SPEECH[:4]])
    return found.receive(Vocos(80, dim=16, blocks=1, hidden=16)).eval()


def vocoder(n_mels: int = 80) -> Vocos:
    torch.manual_seed(2)
    return Vocos(n_mels, dim=16, blocks=1, hidden=16).eval()


def language_model(levels: int = 3, size: int = 16, languages: int = 0) -> Split:
    torch.manual_seed(1)
    common = {"levels": levels, "size": size, "symbols": 64, "languages": languages}
    lm = Split(AR(Transformer(32, 2, 1), **common), NAR(Transformer(32, 2, 1, adaptive_levels=levels), **common))
    for p in lm.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.6)  # so that what is said depends on the text and the voice
    lm.ar.classifier.bias.data[lm.ar.stop] = -20.0  # a length penalty below 0 makes up for it
    return lm.eval()


def encodec(folder: Path, seed: int = 0) -> EnCodec:
    """A small EnCodec with random weights, saved as Hugging Face saves it: 2 levels of 16."""
    _compat.torchaudio()
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(seed)
    sizes = {"num_filters": 4, "hidden_size": 16, "codebook_size": 16, "num_residual_layers": 1}
    model = EncodecModel(EncodecConfig(target_bandwidths=[0.6], **sizes))
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    model.save_pretrained(folder)
    return EnCodec(folder, bandwidth=0.6)


def card(
    lm: LanguageModel,
    codec: Codec,
    text: Text | None = None,
    languages: tuple[str, ...] = ("en",),
    prompt: str | None = None,
    sampling: dict | None = None,
    longest_text: int | None = None,
) -> dict:
    found = {
        "format": 1,
        "kind": "lm",
        "lm": describe(lm),
        "codec": describe(codec) | codec.fingerprint(),
        "text": describe(text or Characters()),
        "symbols": SYMBOLS,
        "languages": list(languages),
        "levels": codec.levels,
        "size": codec.size,
        "sample_rate": codec.sample_rate,
        "hop": codec.hop,
        "prompt_seconds": 2.0,
        "statistics": {"updates": 7, "tokens": 1234},
    }
    later = {"prompt": prompt, "sampling": sampling, "longest_text": longest_text}
    return found | {key: value for key, value in later.items() if value}  # checkpoints of before have no such keys


def write(path: Path, lm: LanguageModel, codec: Codec, **more: object) -> Path:
    """The file that `vocolab fit` would leave, as far as inference reads it."""
    state = {f"lm.{key}": value for key, value in lm.state_dict().items()}
    state |= {f"codec.{key}": value for key, value in codec.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 7, "vocolab": card(lm, codec, **more)}, path)
    return path
