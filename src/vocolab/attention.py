"""Attention as every model here computes it: torch's, but never by cuDNN."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


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
    if not q.is_cuda:  # torch has no cuDNN here, and `sdpa_kernel` takes longer than the attention of a small step
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
    with sdpa_kernel(BACKENDS):
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
