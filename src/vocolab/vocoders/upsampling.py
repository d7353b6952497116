"""What vocoders share that upsample by transposed convolutions: their convolutions, which sizes fit together, and how
far they reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import nn

from vocolab.errors import UsageError
from vocolab.vocoders.normed import WNConv1d, WNConvTranspose1d


def same_conv(channels: int, kernel: int, dilation: int) -> WNConv1d:
    """A convolution that keeps channels and length, its weight drawn from N(0, 0.01)."""
    conv = WNConv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
    conv.fill_normal(0.01)
    return conv


def up_convs(widths: Sequence[int], rates: Sequence[int], kernels: Sequence[int]) -> nn.ModuleList:
    """A transposed convolution a stage, from each of `widths` to the next."""
    return nn.ModuleList(
        WNConvTranspose1d(i, o, kernel, rate, padding=(kernel - rate) // 2)
        for i, o, rate, kernel in zip(widths, widths[1:], rates, kernels, strict=False)
    )


def check_blocks(kernels: Sequence[int], dilations: Sequence[Sequence[int]], name: str, prefix: str) -> None:
    """Raise `UsageError` where residual blocks of these sizes cannot be built; their arguments begin with `prefix`."""
    if len(kernels) != len(dilations):
        what = f"{len(kernels)} {prefix}_kernels, {len(dilations)} {prefix}_dilations"
        raise UsageError(what, name, "give one list of dilations a kernel")
    if any(kernel % 2 == 0 for kernel in kernels):
        raise UsageError(f"{prefix}_kernels {list(kernels)}", name, "take odd ones")


def check_stages(rates: Sequence[int], kernels: Sequence[int], channels: int, hop: int, name: str) -> None:
    """Raise `UsageError` where the stages do not upsample by `hop`, or a stage cannot be built."""
    if len(rates) != len(kernels):
        raise UsageError(f"{len(rates)} upsample_rates, {len(kernels)} upsample_kernels", name, "give one a stage")
    for rate, kernel in zip(rates, kernels, strict=True):
        if kernel < rate or (kernel - rate) % 2:
            remedy = f"take {rate} plus an even number, as {usual_kernel(rate)}"
            raise UsageError(f"upsample kernel {kernel} does not fit rate {rate}", name, remedy)
    if hop != math.prod(rates):
        product = "·".join(str(rate) for rate in rates)
        what = f"upsample_rates {product} = {math.prod(rates)} samples a frame are not hop {hop}"
        raise UsageError(what, name, suggest(hop))
    if channels % 2 ** len(rates):
        remedy = f"take a multiple of {2 ** len(rates)}: every stage halves them"
        raise UsageError(f"channels {channels}", name, remedy)


def context(rates: Sequence[int], kernels: Sequence[int], reach: int, last: int) -> int:
    """Frames on each side that a sample depends on, of a network that begins with a convolution of kernel 7.

    `reach`: samples on each side, at its own rate, that what follows a stage looks at. `last`: the same of what follows
    them all. This walks back from the samples of frame 0 to the frames they need, at each stage's rate.
    """
    low, high = -last, math.prod(rates) - 1 + last
    for rate, kernel in zip(reversed(rates), reversed(kernels), strict=True):
        pad = (kernel - rate) // 2
        # Output o of a transposed convolution takes inputs i with i·rate - pad <= o <= i·rate - pad + kernel - 1.
        low = -((kernel - 1 - pad - (low - reach)) // rate)
        high = (high + reach + pad) // rate
    return max(3 - low, high + 3)


def usual_kernel(rate: int) -> int:
    """Twice the rate, as in the published models; for an odd rate one more, so that kernel minus rate is even."""
    return 2 * rate + rate % 2


def stages(hop: int) -> list[int]:
    """Upsampling rates whose product is `hop`: the first two at most 10, the others at most 4, in 4 stages where that
    can be, the largest first. For 256 and 320 these are the published ones. Empty where no such rates exist.
    """
    for count in (4, 5, 6, 3, 2, 1):
        found = next(_stages(hop, [10, 10, *[4] * 4][:count]), None)
        if found is not None:
            return found
    return []


def _stages(hop: int, limits: Sequence[int], largest: int = 10) -> Iterator[list[int]]:
    """All falling factors of `hop`, one a limit and none above it, those with a larger first factor first."""
    if not limits:
        if hop == 1:
            yield []
        return
    for rate in range(min(limits[0], largest), 1, -1):
        if hop % rate == 0:
            for rest in _stages(hop // rate, limits[1:], rate):
                yield [rate, *rest]


def suggest(hop: int) -> str:
    """What to write for `hop` samples a frame: a remedy for an error."""
    rates = stages(hop)
    if not rates:
        return f"{hop} has no small factors to upsample by: choose another sample_rate"
    kernels = [usual_kernel(rate) for rate in rates]
    return f"use for example hop: {hop}, upsample_rates: {rates}, upsample_kernels: {kernels}"
