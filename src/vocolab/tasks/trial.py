"""Trying the longest batch before training starts: what does not fit into memory fails at once, not hours later."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vocolab.data.batches import SpeechBatch
from vocolab.errors import VocolabError, out_of_memory
from vocolab.tasks.base import field

SEPARATORS = 2  # behind text and prompt; a language adds itself and a third


def positions(batch: SpeechBatch) -> int:
    """The length of the longest sequence that a batch of text, prompts and codes makes, padding included."""
    count = sum(field(batch, name).shape[-1] for name in ("text", "prompts", "codes")) + SEPARATORS
    return count + (0 if batch.language is None else 2)


def try_batch(batch: SpeechBatch, loss: Callable[[SpeechBatch], Tensor], module: nn.Module, backward: bool) -> None:
    """Compute the loss of `batch` and its gradients, and leave the module and the random generators as they were.

    The optimizer has allocated nothing yet, so memory as large as AdamW's two moments is held meanwhile. `backward`
    False, for a strategy that has its own backward pass, tries the forward pass alone.

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
        failed = True  # raised below: the traceback of this error holds the tensors, which are to be freed first
    for p in trained:
        p.grad = None
    if failed:
        rows = len(field(batch, "text"))
        size = f"{rows} utterances of {positions(batch)} positions"
        remedy = "lower --data.batches.tokens, or set gradient_checkpointing: true in the backbone"
        raise VocolabError(f"out of memory on the longest batch, {size}", "data.batches", remedy)
