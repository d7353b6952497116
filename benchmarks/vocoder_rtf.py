"""Real-time factor of each preset vocoder: seconds of computing a second of speech, with 1 and 2 threads on a CPU."""

from __future__ import annotations

import statistics
from pathlib import Path

import torch
import yaml
from harness import arguments, record, report, seconds

from vocolab import vocoders
from vocolab.vocoders import Vocoder

PRESETS = Path(__file__).parents[1] / "configs" / "vocoder"


def build(preset: str) -> Vocoder:
    config = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text())
    kind = getattr(vocoders, config["class_path"])
    return kind(in_channels=1024, **config["init_args"]).eval().fold()


@torch.inference_mode()
def measure(preset: str, threads: int | None, duration: float, repeats: int, device: str) -> dict:
    """`threads` None: on a graphics card."""
    if threads is not None:
        torch.set_num_threads(threads)
    vocoder = build(preset).to(device)
    feats = torch.randn(1, round(duration * vocoder.sample_rate / vocoder.hop), 1024).to(device)
    wav = vocoder(feats)  # warm-up
    assert wav.shape == (1, feats.shape[1] * vocoder.hop)
    taken = statistics.median(seconds(lambda: vocoder(feats), device) for _ in range(repeats))
    factor = taken * vocoder.sample_rate / wav.shape[1]
    name = f"vocoder_rtf:{preset}" + ("" if threads is None else f":{threads}")
    extra = dict(threads=threads, seconds=duration, parameters=sum(p.numel() for p in vocoder.parameters()))
    return record(name, factor, "s/s", repeats=repeats, device=device, **extra)


def main() -> None:
    parser = arguments(__doc__, device=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="of speech a run")
    args = parser.parse_args()
    rows = [
        measure(preset, threads, args.seconds, args.repeats, args.device)
        for preset in ("hifigan_v1", "hifigan_v2", "vocos")
        for threads in ((1, 2) if args.device == "cpu" else (None,))
    ]
    report(rows, args.json)


if __name__ == "__main__":
    main()
