"""RetNet's step 2,000 against its step 100 (half size): it must cost the same, in time (within 10 %) and in memory."""

from __future__ import annotations

import statistics

import torch
from harness import arguments, record, report, seconds

from vocolab.lm import fast
from vocolab.lm.backbones import RetNet
from vocolab.lm.backbones.retention import RetentionState

STEPS = (100, 2000)
PAIRS = 20  # steps of each kind a repeat: one alone takes milliseconds, too few to time


def state_before(backbone: RetNet, x: torch.Tensor, step: int) -> RetentionState:
    """The state in which `step` comes next, its last position taken as a step so that it is as it is in decoding."""
    state = backbone.extend(x[:, : step - 2]).state
    return backbone.extend(x[:, step - 2 : step - 1], state).state


def check(backbone: RetNet, x: torch.Tensor) -> None:
    """Each step gives what a pass over the whole sequence gives there."""
    for step in STEPS:
        got = backbone.extend(x[:, step - 1 : step], state_before(backbone, x, step)).hidden[:, 0]
        wanted = backbone(x[:, :step], torch.tensor([step]), causal=True).hidden[:, -1]
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def times(backbone: RetNet, x: torch.Tensor, states: dict[int, RetentionState], pairs: int) -> dict[int, float]:
    """Seconds of each step, the median of `pairs` taken in turns; each leaves its state as it was."""
    taken = {step: [] for step in STEPS}
    for _ in range(pairs):
        for step in STEPS:
            position = x[:, step - 1 : step]
            taken[step].append(seconds(lambda s=states[step], p=position: backbone.extend(p, s)))
            states[step].truncate(1)
    return {step: statistics.median(each) for step, each in taken.items()}


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    args = parser.parse_args()
    torch.manual_seed(0)
    backbone = fast.prepare(RetNet(dim=512, heads=8, layers=12))
    x = torch.randn(1, max(STEPS), 512)
    check(backbone, x)
    states = {step: state_before(backbone, x, step) for step in STEPS}
    times(backbone, x, states, args.pairs)  # warm-up
    runs = [times(backbone, x, states, args.pairs) for _ in range(args.repeats)]
    early, late = (statistics.median(run[step] for run in runs) for step in STEPS)
    sizes = {f"state_bytes_{step}": states[step].bytes for step in STEPS}
    report(
        [
            record(
                "retention",
                late,
                "s",
                early,
                early / late,
                args.repeats,
                steps=STEPS,
                threads=torch.get_num_threads(),
                **sizes,
            )
        ],
        args.json,
    )
    print(", ".join(f"{key} {value}" for key, value in sizes.items()))


if __name__ == "__main__":
    main()
