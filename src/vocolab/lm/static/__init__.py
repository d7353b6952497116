"""Decoding as a GPU does it best. The models themselves know nothing of it.

    lm = static.prepare(lm)
    lm.generate(...)

A step of decoding launches hundreds of small kernels, and launching them takes a GPU longer than computing them. Where
every tensor has a fixed place and size, the launches of a step can be recorded once as a CUDA graph and then be
repeated as one. So here

    memory.py    holds the past in tensors of fixed capacity
    layers.py    has layers that ask the host nothing, with matrices that read the same input joined
    session.py   is a step, sampling included: a function of tensors, in place
    graphs.py    records it
    loop.py      decodes with it

Rows that have ended stay in the batch, and what is computed for them is not used: on a GPU a step of 32 rows takes
about twice as long as that of one, and a smaller batch would be another graph.
"""

from __future__ import annotations

from vocolab.lm.static.graphs import cuda_graph, eager
from vocolab.lm.static.loop import StaticFrames, prepare
from vocolab.lm.static.memory import Unsupported

__all__ = ["StaticFrames", "Unsupported", "cuda_graph", "eager", "prepare"]
