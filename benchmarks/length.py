"""Decoding a second of speech (75 frames) after 10, 60 and 300 s of it, and the bytes of the state: an AR's backbone
with a window of 225 frames (Llama and the transformer) and RetNet, against the same Llama that sees all of the past.

Each of the small backbones reads a prefix of 300 positions and the frames before in pieces, and is then timed step by
step. What is flat has the same time and bytes at all three lengths.
"""

from __future__ import annotations

import statistics

import torch
from harness import arguments, record, report, seconds
from torch import Tensor

from vocolab.lm import fast
from vocolab.lm.backbones import Backbone, Llama, RetNet, State, Transformer, Window

SIZES = dict(dim=256, heads=4, layers=4)
RATE, PREFIX, WINDOW, PIECE = 75, 300, 225, 375
LENGTHS = (10, 60, 300)  # seconds


def windowed() -> Window:
    return Window(WINDOW, torch.tensor([PREFIX]), 2 * WINDOW)


def read(backbone: Backbone, window: Window | None, x: Tensor, state: State | None = None) -> State:
    """The state after x (1, L, D), read in pieces; the first holds the prefix."""
    for piece in x.split(PIECE, dim=1):
        if window is None:
            state = backbone.extend(piece, state).state
        else:
            state = backbone.extend(piece, state, None, window).state
    assert state is not None
    return state


def steps(backbone: Backbone, state: State, x: Tensor) -> State:
    """A second of speech, frame by frame."""
    for frame in x.split(1, dim=1):
        output = backbone.extend(frame, state)
        assert output.state is not None
        state = output.state
    return state


def check(backbone: Backbone, window: Window | None, x: Tensor) -> None:
    """After pieces and steps, a step gives what a pass over the whole sequence gives there."""
    got = backbone.extend(x[:, -1:], steps(backbone, read(backbone, window, x[:, :-20]), x[:, -20:-1])).hidden[:, 0]
    more = {} if window is None else {"window": window}
    wanted = backbone(x, torch.tensor([x.shape[1]]), causal=True, **more).hidden[:, -1]
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS), metavar="S", help="seconds of speech")
    args = parser.parse_args()
    torch.manual_seed(0)
    full = fast.prepare(Llama(**SIZES))
    sides: dict[str, tuple[Backbone, Window | None]] = {
        "full": (full, None),
        "llama_window": (full, windowed()),
        "transformer_window": (fast.prepare(Transformer(**SIZES)), windowed()),
        "retnet": (fast.prepare(RetNet(**SIZES)), None),
    }
    x = torch.randn(1, PREFIX + RATE * max(args.lengths), SIZES["dim"])
    states: dict[str, State] = {}
    for backbone, window in sides.values():
        check(backbone, window, x[:, : PREFIX + 600])
    rows, done = [], 0
    for length in sorted(args.lengths):
        end = PREFIX + RATE * length
        for name, (backbone, window) in sides.items():
            # A second less than the length: the warm-up takes it, step by step.
            before = read(backbone, window, x[:, done : end - RATE], states.get(name))
            states[name] = steps(backbone, before, x[:, end - RATE : end])
        done = end
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(args.repeats):
            for name, (backbone, _) in sides.items():
                times = []
                for _ in range(RATE):  # each step is taken back, so that the position stays
                    times.append(seconds(lambda b=backbone, s=states[name]: b.extend(x[:, :1], s)))
                    states[name] = states[name].truncate(1)
                taken[name].append(RATE * statistics.median(times))
        medians = {name: statistics.median(times) for name, times in taken.items()}
        for name, ours in medians.items():
            extra = dict(state_bytes=states[name].bytes, after_seconds=length, threads=torch.get_num_threads())
            of = f"length:{name}_{length}s"
            whole = None if name == "full" else medians["full"]
            rows.append(record(of, ours, "s", whole, whole and whole / ours, args.repeats, **extra))
            print(f"{of}: {ours:.3f} s a second of speech, {states[name].bytes:,} bytes", flush=True)
    report(rows, args.json)


if __name__ == "__main__":
    main()
