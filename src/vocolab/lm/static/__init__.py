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

Each number of rows and each capacity is another graph, so there are few: capacities are doubled, and rows that have
ended make room only when half of them have. Until then they stay, and what is computed for them is not used.
"""

from __future__ import annotations

from vocolab.lm.static.graphs import cuda_graph, eager
from vocolab.lm.static.loop import StaticFrames, prepare
from vocolab.lm.static.memory import Unsupported

__all__ = ["StaticFrames", "Unsupported", "cuda_graph", "eager", "prepare"]
