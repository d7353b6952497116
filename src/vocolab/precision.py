"""How a GPU computes: full float32 for numbers that are stored, and no search for algorithms where lengths vary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

# torch keeps these settings for the whole process, not for a thread. So the first thread that enters sets them and the
# last one that leaves restores them.
_LOCK = threading.Lock()
_inside = 0
_restore: Callable[[], None] | None = None


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside, float32 is computed as float32: no TF32 or bfloat16 in matrix products, convolutions and recurrent
    layers, and no autocast. Nor does cuDNN time its algorithms for each length, as in `any_length`.

    A quantiser turns small errors into other codes: a quarter of a random EnCodec's codes on an H200 were others than a
    CPU's, most likely by TF32, torch's default for cuDNN.

    Works as a decorator too; may be nested and used by several threads. Whatever was set before is restored when the
    last one leaves. Autocast is turned off only in the thread that enters.
    """
    global _inside, _restore
    with _LOCK:
        if _inside == 0:
            _restore = _set_all()
        _inside += 1
    try:
        with ExitStack() as stack:
            for device in ("cpu", "cuda", "mps", "xpu"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0 and _restore is not None:
                _restore()


@contextmanager
def any_length() -> Iterator[None]:
    """Inside, cuDNN does not time its algorithms for each new shape (`cudnn.benchmark`), which pays only where shapes
    come again. Whole utterances nearly all differ in length. The setting is restored afterwards.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _set_all() -> Callable[[], None]:
    """Set full precision for the process; return what restores the settings that were.

    torch has two interfaces to the same switches and refuses to read one where the other says something else
    (`allow_tf32` and `set_float32_matmul_precision`; `fp32_precision`, each level of which stands for those below that
    are "none"). So both are set, and the old one is read while the new one agrees with it.
    """
    backends: Any = torch.backends  # whose modules replace themselves by objects, which type checkers do not see
    # From the top level down: once the levels above are "none", each reports its own value. (torch 2.13 writes
    # `backends.mkldnn.fp32_precision` to the top level by mistake, so it is left out.)
    levels = (backends, backends.cudnn)
    operations = (
        *(backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn),
        *(backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn),
    )
    saved: list[tuple[Any, str]] = []
    for switch in levels:
        saved.append((switch, switch.fp32_precision))
        switch.fp32_precision = "none"
    for switch in operations:
        saved.append((switch, switch.fp32_precision))
        switch.fp32_precision = "ieee"
    matmul, convolutions = torch.get_float32_matmul_precision(), _cudnn_allows_tf32()
    benchmark = backends.cudnn.benchmark
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = False
    for switch in operations:  # the old interface has just changed them
        switch.fp32_precision = "ieee"
    backends.cudnn.benchmark = False

    def restore() -> None:
        torch.set_float32_matmul_precision(matmul)
        backends.cudnn.allow_tf32 = convolutions
        for switch, value in saved:
            switch.fp32_precision = value
        backends.cudnn.benchmark = benchmark

    return restore


def _cudnn_allows_tf32() -> bool:
    """The old switch of cuDNN, while the new ones say no: torch raises where it disagrees with them."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return True
