"""Attention as every model here computes it: torch's, but never by cuDNN."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
PRODUCTS = 1024  # positions up to which a CPU keeps all scores in memory


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False, dropout: float = 0.0
) -> Tensor:
    """softmax(q kᵀ / √Dh + mask) v of q (B, H, L, Dh), k and v (B, H, N, Dh): (B, H, L, Dh).

    `mask`: (B or 1, H or 1, L or 1, N), bool (True: seen) or added to the scores. `causal`: query n sees keys 0 to n.
    `dropout`: the share of the weights that is dropped.

    On a GPU torch would take cuDNN's kernel for half precision. That makes a plan for each new shape: a step of
    decoding then took 42 ms instead of 6 in a measurement on an H200, and each new shape of a padded batch in training
    half a second more. (pytorch issue 193893 reports wrong results besides.) So cuDNN's is left out here.
    """
    if q.device.type == "cpu" and _trains_by_products(q, k, dropout):
        return _by_products(q, k, v, mask, causal)
    if not q.is_cuda:  # torch has no cuDNN here, and `sdpa_kernel` takes longer than the attention of a small step
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
    with sdpa_kernel(BACKENDS):
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)


def _trains_by_products(q: Tensor, k: Tensor, dropout: float) -> bool:
    """Whether gradients are asked for, no weights are dropped, and torch would compute it in bfloat16."""
    if dropout or not q.requires_grad or k.shape[2] > PRODUCTS:
        return False
    autocast = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if autocast else q.dtype) == torch.bfloat16


def _by_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """The same as two matrix products.

    In bfloat16 a CPU trains through them in half the time of torch's kernel, which is no faster there than in float32.
    The scores (B, H, L, N) are kept for the backward pass.
    """
    batch, heads, length, width = q.shape
    dtype = torch.bfloat16
    hidden = torch.finfo(dtype).min / 2  # finite, for a query that sees nothing
    if mask is None:
        bias = torch.full((length, k.shape[2]), hidden if causal else 0.0, dtype=dtype, device=q.device)
        bias = bias.triu(1) if causal else bias
    elif mask.dtype == torch.bool:
        bias = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, hidden)
    else:
        bias = mask.to(dtype).clamp(min=hidden)
    bias = bias.expand(batch, heads, length, k.shape[2]).flatten(0, 1)
    q, k, v = (x.to(dtype).flatten(0, 1) for x in (q, k, v))
    weights = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=width**-0.5).softmax(-1)
    return torch.bmm(weights, v).unflatten(0, (batch, heads))
