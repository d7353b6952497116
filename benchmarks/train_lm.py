"""Training of an AR by each backbone, eager and under torch.compile (`compile: true`): real positions a second.

The batches are those of an epoch's plan (`TokenBudget`) over utterances as long as LibriTTS has them, prompts included,
so rows and lengths change from batch to batch; texts and codes are random. An update is forward, backward and a fused
AdamW, in bfloat16 on a graphics card and in float32 on a CPU. Both sides start from the same weights, and their losses
are compared first. Compiling is not timed with them: it is `compile_seconds`, two passes over the batches.

`share` is the part of the device's rate at large matrix products (`matrix_rate`, measured here) that 6 operations a
weight and a real position are; of a mixture, the weights of the experts that a position uses. `padding` are the shares
of padding in the batches of the plan and in those that the compiled model computes.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics

import numpy as np
import torch
from decode import BACKBONES, LEVELS, SIZE
from harness import arguments, record, report, seconds
from padding import builtin, libritts

from vocolab.data.batches import TokenBudget
from vocolab.data.shards.index import Index
from vocolab.lm import AR
from vocolab.lm.backbones import Mixtral
from vocolab.lm.backbones.compiled import Compiled
from vocolab.lm.base import Condition

SIZES = {
    "tiny": dict(dim=64, heads=2, layers=2),
    "quarter": dict(dim=256, heads=4, layers=12),
    "half": dict(dim=512, heads=8, layers=12),
    "full": dict(dim=1024, heads=16, layers=12),
}
CORPORA = {"libritts": lambda: libritts(30_000), "builtin": builtin}
Batch = tuple[Condition, torch.Tensor, torch.Tensor]  # and the codes (B, K, L) of the responses, and lengths (B,)


def batches(index: Index, tokens: int, count: int, device: str) -> list[Batch]:
    """The first `count` batches of an epoch."""
    plan = TokenBudget(tokens).plan(index, 0, 0)
    generator = torch.Generator().manual_seed(0)

    def codes(lengths: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (len(lengths), LEVELS, int(lengths.max()))
        return torch.randint(SIZE, shape, generator=generator).to(device), torch.from_numpy(lengths.copy()).to(device)

    made = []
    for number in range(min(count, len(plan))):
        items = plan[number]
        symbols = index.rows["symbols"][items.rows].astype(np.int64)
        text = torch.randint(4, 100, (len(symbols), int(symbols.max())), generator=generator).to(device)
        prompt, prompt_lengths = codes(items.prompts.frames)
        response, lengths = codes(items.frames)
        condition = Condition(text, torch.from_numpy(symbols).to(device), prompt, prompt_lengths)
        made.append((condition, response, lengths))
    return made


def positions(batch: Batch) -> tuple[int, int]:
    """Of the sequences that a batch makes: real positions, and all with their padding."""
    condition, _, lengths = batch
    rows = condition.text_lengths + condition.prompt_lengths + lengths + 2  # separators
    return int(rows.sum()), len(rows) * int(rows.max())


class Training:
    def __init__(self, model: AR, device: str, backend: str | None):
        self.model, self.device = model.to(device).train(), device
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.compiled = None if backend is None else Compiled(backend)
        self.model.backbone.compiled = self.compiled

    def loss(self, batch: Batch) -> torch.Tensor:
        half = contextlib.nullcontext() if self.device == "cpu" else torch.autocast(self.device, torch.bfloat16)
        with half:
            losses = self.model.loss(*batch)
        return losses.total / losses.tokens

    def epoch(self, data: list[Batch]) -> None:
        for batch in data:
            self.loss(batch).backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def matrix_rate(device: str) -> float:
    """Operations a second of large matrix products: in bfloat16 on a graphics card, in float32 on a CPU."""
    side, dtype = (1024, torch.float32) if device == "cpu" else (8192, torch.bfloat16)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [seconds(lambda: a @ b, device) for _ in range(13)][3:]
    return 2 * side**3 / statistics.median(times)


def weights_used(model: AR) -> int:
    """How many weights of the backbone a position is multiplied with."""
    backbone = model.backbone
    count = sum(p.numel() for p in backbone.parameters())
    if isinstance(backbone, Mixtral):
        experts = sum(p.numel() for name, p in backbone.named_parameters() if ".experts." in name)
        count -= experts * (backbone.experts - backbone.top) // backbone.experts
    return count


def measure(name: str, data: list[Batch], rate: float, args: argparse.Namespace) -> dict:
    torch.manual_seed(0)
    model = AR(BACKBONES[name](**SIZES[args.size], dropout=0.0), LEVELS, SIZE)
    sides = {"eager": Training(copy.deepcopy(model), args.device, None)}
    if args.backend != "none":
        sides["compiled"] = Training(model, args.device, args.backend)
        losses = [side.loss(data[0]).item() for side in sides.values()]
        assert abs(losses[0] - losses[1]) <= 0.01 * abs(losses[0]), losses
    ready: dict[str, float] = {}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for side, training in sides.items():
        ready[side] = seconds(lambda s=training: (s.epoch(data), s.epoch(data)), args.device)
    for _ in range(args.repeats):
        for side, training in sides.items():
            times[side].append(seconds(lambda s=training: s.epoch(data), args.device))
    real, padded = (sum(column) for column in zip(*map(positions, data), strict=True))
    eager = real / statistics.median(times["eager"])
    ours = real / statistics.median(times["compiled"]) if "compiled" in times else eager
    work = 6 * weights_used(model) / rate
    extra = dict(size=args.size, tokens=args.tokens, corpus=args.corpus, batches=len(data), backend=args.backend)
    extra |= dict(matrix_rate=rate, share=ours * work, threads=torch.get_num_threads())
    if "compiled" not in sides:
        return record(f"train_lm:{name}", ours, "positions/s", repeats=args.repeats, device=args.device, **extra)
    compiled = sides["compiled"].compiled
    assert compiled is not None
    extra |= dict(baseline_share=eager * work, compile_seconds=ready["compiled"] - ready["eager"])
    extra |= dict(padding={"plan": 1 - real / padded, "compiled": compiled.padding()})
    return record(f"train_lm:{name}", ours, "positions/s", eager, ours / eager, args.repeats, args.device, **extra)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], device=True)
    parser.add_argument("--backbones", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--size", choices=list(SIZES), help="default: full on a graphics card, else quarter")
    parser.add_argument("--corpus", choices=list(CORPORA), default="libritts", help="whose lengths the batches have")
    parser.add_argument("--tokens", type=int, help="of a batch; default: 12000 on a graphics card, else 3000")
    parser.add_argument("--batches", type=int, help="default: 24 on a graphics card, else 4")
    parser.add_argument("--backend", default="inductor", help="of torch.compile; none: eager alone")
    args = parser.parse_args()
    card = args.device != "cpu"
    args.size = args.size or ("full" if card else "quarter")
    args.tokens, args.batches = args.tokens or (12000 if card else 3000), args.batches or (24 if card else 4)
    data = batches(CORPORA[args.corpus](), args.tokens, args.batches, args.device)
    rate, rows = matrix_rate(args.device), []
    for name in args.backbones:
        torch.compiler.reset()  # what was compiled for the one before
        rows.append(measure(name, data, rate, args))
    report(rows, args.json)


if __name__ == "__main__":
    main()
