"""Training passes of a RetNet layer in chunks that are computed together, against all positions at once.

Time: both in one process, alternating. Peak memory of a pass: on a CPU each in a process of its own, as resident memory
above what it had before; on a graphics card as torch's allocator counts it. Both grow with the length in chunks, and
with its square all at once: see `bytes_a_position` of the records.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import torch
from harness import arguments, compare, record, report

from vocolab.lm.backbones import RetNet
from vocolab.lm.backbones.retention import CHUNK

FORMS = {"chunks": CHUNK, "whole": None}
SIZES = dict(dim=128, heads=2, layers=1, dropout=0.0)  # heads as wide as in any size of VALL-E


def layer(form: str, device: str) -> RetNet:
    torch.manual_seed(0)
    return RetNet(**SIZES, chunk=FORMS[form]).to(device).train()


def inputs(length: int, device: str) -> torch.Tensor:
    return torch.randn(1, length, SIZES["dim"], generator=torch.Generator().manual_seed(0)).to(device)


def training_pass(model: RetNet, x: torch.Tensor, causal: bool = True) -> torch.Tensor:
    """The output of a pass, whose gradients are then in the weights."""
    model.zero_grad()
    hidden = model(x, torch.tensor([x.shape[1]], device=x.device), causal=causal).hidden
    hidden.square().mean().backward()
    return hidden.detach()


def check(models: dict[str, RetNet], x: torch.Tensor) -> None:
    """The two give the same outputs and gradients, causally and both ways."""
    for causal in (True, False):
        found, wanted = (training_pass(models[form], x, causal) for form in FORMS)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        for a, b in zip(models["chunks"].parameters(), models["whole"].parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-3)


def resident(what: str) -> int:
    """Bytes of resident memory of this process: now (VmRSS) or at most (VmHWM)."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "no such line on this system"
    return 1024 * int(found[1])


def peak_here(form: str, length: int, device: str) -> int:
    """Bytes that a training pass adds at its peak."""
    model, x = layer(form, device), inputs(length, device)
    training_pass(model, x[:, :200])  # what libraries allocate once
    if device == "cpu":
        before = resident("VmRSS")
        training_pass(model, x)
        return max(0, resident("VmHWM") - before)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    training_pass(model, x)
    return torch.cuda.max_memory_allocated(device) - before


def peak(form: str, length: int, device: str) -> int:
    if device != "cpu":
        return peak_here(form, length, device)
    command = [sys.executable, __file__, "--peak", form, "--positions", str(length)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def figures(length: int, args: argparse.Namespace) -> list[dict]:
    """Memory and time at one length."""
    ours, baseline = (peak(form, length, args.device) for form in FORMS)
    sizes = {"bytes_a_position": ours / length, "baseline_bytes_a_position": baseline / length}
    memory = record(
        f"chunks:memory_{length}", ours, "bytes", baseline, baseline / ours, device=args.device, chunk=CHUNK, **sizes
    )
    models, x = {form: layer(form, args.device) for form in FORMS}, inputs(length, args.device)
    time = compare(
        f"chunks:time_{length}",
        lambda: training_pass(models["whole"], x),
        lambda: training_pass(models["chunks"], x),
        args.repeats,
        device=args.device,
        chunk=CHUNK,
        threads=torch.get_num_threads(),
    )
    return [memory, time]


def main() -> None:
    parser = arguments(__doc__, device=True)
    parser.add_argument("--positions", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--peak", choices=FORMS, help="print the peak memory of one form, and nothing else")
    args = parser.parse_args()
    if args.peak:
        print(peak_here(args.peak, args.positions[0], args.device))
        return
    check({form: layer(form, args.device) for form in FORMS}, inputs(600, args.device))
    report([row for length in args.positions for row in figures(length, args)], args.json)


if __name__ == "__main__":
    main()
