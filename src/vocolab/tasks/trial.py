"""Trying the longest batch before training starts: what does not fit fails in the first minute, not in the night."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vocolab.data.batches import SpeechBatch
from vocolab.errors import VocolabError, out_of_memory

SEPARATORS = 2  # after text and prompt; a language adds itself and one more


def positions(batch: SpeechBatch) -> int:
    """The length of the longest sequence that a batch of text, prompts and codes makes, padding included."""
    count = batch.text.shape[1] + batch.prompts.shape[2] + batch.codes.shape[2] + SEPARATORS
    return count + (0 if batch.language is None else 2)


def try_batch(batch: SpeechBatch, loss: Callable[[SpeechBatch], Tensor], module: nn.Module, backward: bool) -> None:
    """Forward and backward of `batch` without a trace: no update, no gradients, no random numbers used up.

    Memory as large as AdamW's two moments is held meanwhile, since the optimizer has none yet. Without `backward` (a
    strategy that owns it) only the activations are tried.

    Raises `VocolabError`, naming the batch's size and the remedy, where memory runs out.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    devices = sorted({p.device.index for p in trained if p.device.type == "cuda"})
    failed = False
    try:
        with torch.random.fork_rng(devices):
            moments = [torch.empty_like(p) for p in trained for _ in range(2)]
            value = loss(batch)
            if backward:
                value.backward()
            del moments, value
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        failed = True  # the error's traceback holds the tensors: leave it before saying so
    for p in trained:
        p.grad = None
    if failed:
        size = f"{len(batch.text)} utterances of {positions(batch)} positions"
        remedy = "lower --data.batches.tokens, or set gradient_checkpointing: true in the backbone"
        raise VocolabError(f"out of memory on the longest batch, {size}", "data.batches", remedy)
