"""What the recording of a CUDA graph forbids, on a CPU or without any values (device meta): that the host asks the
device for a value, for a size that depends on values, or sends it numbers.

    with Capturing():
        step()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations whose result is a number of the host, or a tensor whose size depends on values.
ASKING = frozenset(
    "_local_scalar_dense equal is_nonzero nonzero nonzero_static masked_select _unique _unique2 unique_dim "
    "unique_consecutive unique_dim_consecutive bincount histc repeat_interleave multinomial _assert_scalar".split()
)
# A number of Python that becomes a tensor, which the device would get from the host.
SENDING = frozenset(["lift_fresh", "lift_fresh_copy"])
# Methods that hand values to Python: on a CPU some of them read the memory without an operation that could be seen.
HANDED = (
    "tolist",
    "numpy",
    "item",
    "cpu",
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__array__",
    "__contains__",
)
PROGRAMS = {getattr(Tensor, name): name for name in HANDED if hasattr(Tensor, name)}


class Capturing:
    """Inside, whatever a recording forbids raises `RuntimeError`, as it does on a GPU."""

    def __enter__(self) -> Capturing:
        self._stack = ExitStack()
        self._stack.enter_context(_Operations())
        self._stack.enter_context(_Methods())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def refuse(what: str) -> None:
    raise RuntimeError(f"operation not permitted when stream is capturing: {what}")


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> object:
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        if name in ASKING or func._schema.name.removeprefix("aten::") in ASKING | SENDING:
            refuse(str(func))
        if name in ("index", "index_put", "_unsafe_index") and any(
            index.dtype in (torch.bool, torch.uint8) for index in tree_leaves(args[1]) if isinstance(index, Tensor)
        ):
            refuse(f"{func} with a mask: how many it picks depends on values")
        made = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        copies = name in ("copy", "_to_copy")
        # A number that an operation reads as a tensor of the CPU without dimensions goes along with the launch.
        places = {t.device.type for t in (*tensors, *results) if copies or t.dim() > 0 or not t.is_cpu}
        if len(places) > 1:
            refuse(f"{func} between {' and '.join(sorted(places))}")
        return made


class _Methods(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> object:
        if func in PROGRAMS:
            refuse(f"Tensor.{PROGRAMS[func]}")
        return func(*args, **(kwargs or {}))
