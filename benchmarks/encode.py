"""Encoding to layer 6 of a model shaped like WavLM-Large, random weights in Hugging Face's layout:

encode         against transformers' whole model (`WavLMModel`, 24 layers), which runs whole for `hidden_states[6]`
encode_floor   against the bare matrix products of the same work; here alone the ratio is ours / baseline: how many
               times the least possible the encoder takes

Cases: utterances of 8 s and of 30 s, one and several (`8s`, `30s`, `8sx4`, `30sx2`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from harness import arguments, compare, report
from prepare import LAYER, random_model, utterances
from torch import Tensor

from vocolab import audio
from vocolab.encoders import WavLM

CASES = {"8s": (8, 1), "30s": (30, 1), "8sx4": (8, 4), "30sx2": (30, 2)}
TOLERANCE = 1e-5


def products(encoder: WavLM, seconds: float, rows: int, device: str) -> Callable[[], None]:
    """The matrix products of `rows` utterances, each as large as it can be made: of a convolution, of a linear layer
    and of all heads of a row at once. Nothing is normalised, added or moved.
    """
    shape, samples = encoder.shape, round(seconds * encoder.sample_rate)
    frames = encoder.frames(samples)
    sizes, channels = [], 1
    for n, (dim, kernel) in enumerate(zip(shape.conv_dim, shape.conv_kernel, strict=True), 1):
        sizes.append((rows * shape.frames(samples, n), channels * kernel, dim))
        channels = dim
    sizes.append((rows * frames, channels, shape.dim))
    layer = [(shape.dim, shape.dim)] * 4 + [(shape.dim, shape.ffn), (shape.ffn, shape.dim)]
    sizes += [(rows * frames, *matrix) for matrix in layer * LAYER]
    calls = []
    made: dict[tuple[int, ...], Tensor] = {}  # one operand of a size is enough: a cache would not hold the next anyway

    def operand(*size: int) -> Tensor:
        return made.setdefault(size, torch.randn(size, device=device))

    for count, before, after in sizes:
        calls.append((torch.mm, operand(count, before), operand(before, after)))
    width = shape.dim // shape.heads
    for _ in range(LAYER * rows):
        calls.append((torch.bmm, operand(shape.heads, frames, width), operand(shape.heads, width, frames)))
        calls.append((torch.bmm, operand(shape.heads, frames, frames), operand(shape.heads, frames, width)))

    def run() -> None:
        for product, one, other in calls:
            product(one, other)

    return run


@torch.inference_mode()
def measure(case: str, model: torch.nn.Module, encoder: WavLM, folder: Path, repeats: int, device: str) -> list[dict]:
    seconds, rows = CASES[case]
    wav = torch.stack([audio.read(path, 16000)[0] for path in utterances(folder, rows, seconds)]).to(device)
    expected = model(wav, output_hidden_states=True).hidden_states[LAYER]
    difference = (encoder(wav) - expected).abs().max().item()
    print(
        f"encode:{case}: layer {LAYER} differs by {difference:.1e} at most, of {expected.abs().max():.2f}", flush=True
    )
    assert difference <= TOLERANCE * max(1.0, expected.abs().max().item())
    extra = dict(seconds_of_speech=seconds * rows, threads=torch.get_num_threads(), difference=difference)
    encode = compare(f"encode:{case}", lambda: model(wav), lambda: encoder(wav), repeats, device=device, **extra)
    bare = products(encoder, seconds, rows, device)
    floor = compare(f"encode_floor:{case}", bare, lambda: encoder(wav), repeats, device=device, **extra)
    floor["ratio"] = 1 / floor["ratio"]
    return [encode, {**floor, "note": "ratio = ours / bare products"}]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], device=True)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--depth", type=int, default=24, help="layers of transformers' model")
    args = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(Path(folder) / "wavlm", args.depth).to(args.device)
        encoder = WavLM(Path(folder) / "wavlm", LAYER).load().to(args.device)
        for case in args.cases:
            rows += measure(case, model, encoder, Path(folder), args.repeats, args.device)
    report(rows, args.json)


if __name__ == "__main__":
    main()
