"""Vocoders against the public packages, at the same size and with the same weights:

vocoder:hifigan_wavlm        HiFi-GAN V1 over WavLM features, against coqui-tts's generator
vocoder:hifigan_mel          HiFi-GAN V1 over mels, against coqui-tts's generator
vocoder:hifigan_transformers the same, against transformers' `SpeechT5HifiGan`
vocoder:istft                the inverse-STFT vocoder, against the package `vocos`

All of them without weight norm, as each package uses a vocoder. Ours run as `KNNVC` runs them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import public
import torch
from harness import arguments, compare, report
from torch import Tensor, nn

from vocolab.vocoders import HiFiGAN, Vocoder, Vocos, fast

TOLERANCE = 1e-5


def hifigan(projection: int | None, folder: Path) -> tuple[HiFiGAN, nn.Module]:
    """Ours, folded, and coqui-tts's, which has read the official file that ours was exported to."""
    ours = public.random_hifigan(projection)
    theirs = public.coqui_generator(public.export(ours, folder), ours)
    return ours.fold(), theirs


def istft() -> tuple[Vocos, Callable[[Tensor], Tensor]]:
    """Ours with the package's weights: at the size of configs/vocoder/vocos.yaml."""
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    ours = Vocos()
    backbone = VocosBackbone(ours.in_channels, ours.dim, ours.hidden, ours.blocks).eval()
    head = ISTFTHead(ours.dim, ours.n_fft, ours.hop, padding="same").eval()
    names = {"embed": "embed", "norm": "norm", "final_layer_norm": "final_norm"}
    inside = {"dwconv": "mix", "norm": "norm", "pwconv1": "widen", "pwconv2": "narrow", "gamma": "scale"}
    state = {f"head.{name}": value for name, value in head.out.state_dict().items()}
    for name, value in backbone.state_dict().items():
        first, *rest = name.split(".")
        if first == "convnext":
            index, part, *rest = rest
            state[".".join(["layers", index, inside[part], *rest])] = value
        else:
            state[".".join([names[first], *rest])] = value
    ours.load_state_dict(state)

    class Package(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = backbone, head

        def forward(self, feats: Tensor) -> Tensor:
            return self.head(self.backbone(feats.transpose(1, 2)))

    return ours.eval().fold(), Package().eval()


@torch.inference_mode()
def measure(
    case: str, ours: Vocoder, theirs: Callable[[Tensor], Tensor], seconds: float, repeats: int, device: str
) -> dict:
    ours = fast.prepare(ours.to(device))
    frames = round(seconds * ours.sample_rate / ours.hop)
    feats = torch.randn(1, frames, ours.in_channels, device=device)
    wav, expected = ours.chunked(feats), theirs(feats).reshape(1, -1)
    difference = (wav - expected).abs().max().item()
    print(f"vocoder:{case}: outputs differ by {difference:.1e} at most, of {expected.abs().max():.2f}", flush=True)
    assert difference <= TOLERANCE and expected.std() > 0.01
    return compare(
        f"vocoder:{case}",
        lambda: theirs(feats),
        lambda: ours.chunked(feats),
        repeats,
        device=device,
        seconds_of_speech=seconds,
        threads=torch.get_num_threads(),
        difference=difference,
    )


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], device=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="of speech a run")
    args = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        wavlm, coqui = hifigan(512, Path(folder))
        coqui.to(args.device)
        rows.append(("hifigan_wavlm", wavlm, coqui.inference))
        mel, coqui_mel = hifigan(None, Path(folder))
        coqui_mel.to(args.device)
        rows.append(("hifigan_mel", mel, lambda feats: coqui_mel.inference(feats.transpose(1, 2))))
        rows.append(("hifigan_transformers", mel, public.transformers_hifigan(mel).to(args.device)))
    ours, package = istft()
    rows.append(("istft", ours, package.to(args.device)))
    report([measure(*row, args.seconds, args.repeats, args.device) for row in rows], args.json)


if __name__ == "__main__":
    main()
