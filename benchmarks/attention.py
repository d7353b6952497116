"""Attention trained in bfloat16 on a CPU, forward and backward: the two products of `vocolab.attention` against torch's
kernel, at the size of quickstart-tts's batches.

attention:AR       causal
attention:NAR      every position sees all that are no padding
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from harness import arguments, compare, report
from torch import Tensor
from torch.nn import functional as F

from vocolab.attention import scaled_dot_product_attention

SHAPE = (13, 4, 265, 64)  # rows, heads, positions, width
PADDING = 15  # positions
PASSES = 10  # a time: one alone takes milliseconds


def trained(attend: Callable[..., Tensor], given: Tensor) -> list[Tensor]:
    """The gradients of queries, keys and values."""
    given = [x.detach().requires_grad_() for x in given]
    out = attend(*given)
    return list(torch.autograd.grad(out, given, torch.ones_like(out)))


def main() -> None:
    args = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    given = torch.randn(3, *SHAPE, dtype=torch.bfloat16)
    mask = torch.ones(SHAPE[0], 1, 1, SHAPE[2], dtype=torch.bool)
    mask[..., SHAPE[2] - PADDING :] = False

    def kernel(causal: bool) -> Callable[..., Tensor]:
        return lambda *x: F.scaled_dot_product_attention(*x, None if causal else mask, is_causal=causal)

    def ours(causal: bool) -> Callable[..., Tensor]:
        return lambda *x: scaled_dot_product_attention(*x, None if causal else mask, causal=causal)

    records = []
    for name, causal in (("AR", True), ("NAR", False)):
        sides = kernel(causal), ours(causal)
        for one, other in zip(*(trained(side, given) for side in sides), strict=True):
            assert (one - other).float().norm() <= 0.02 * other.float().norm()
        passes = [lambda side=side: [trained(side, given) for _ in range(PASSES)] for side in sides]
        more = {"passes": PASSES, "threads": torch.get_num_threads()}
        records.append(compare(f"attention:{name}", *passes, args.repeats, **more))
    report(records, args.json)


if __name__ == "__main__":
    main()
