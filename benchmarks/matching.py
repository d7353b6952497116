"""Cosine neighbours: kNN-VC's order of work (squared distances by `torch.cdist`, then `topk`) against ours, on one
query.

600 query frames (12 s) against a pool of 75,000 (25 min) of width 1024: the figure of docs/measured.md.
"""

from __future__ import annotations

import torch
from harness import arguments, compare, report

from vocolab.matching import knn


def cdist_neighbours(query: torch.Tensor, pool: torch.Tensor, k: int) -> torch.Tensor:
    """Cosine distance from squared Euclidean distances and norms: 2 q·p = |q|² + |p|² − |q − p|²."""
    query_norms, pool_norms = query.norm(dim=-1), pool.norm(dim=-1)
    squared = torch.cdist(query[None], pool[None])[0] ** 2
    dot = (query_norms[:, None] ** 2 + pool_norms[None] ** 2 - squared) / 2
    distance = 1 - dot / (query_norms[:, None] * pool_norms[None])
    return distance.topk(k, dim=-1, largest=False).indices


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--pool", type=int, default=75_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--topk", type=int, default=4)
    args = parser.parse_args()

    torch.manual_seed(0)
    query, pool = torch.randn(args.frames, args.dim), torch.randn(args.pool, args.dim)
    expected, found = cdist_neighbours(query, pool, args.topk), knn(query, pool, args.topk)
    # Rounding may swap neighbours that are equally near, never more than a few.
    agreement = (expected == found).float().mean().item()
    assert agreement > 0.999, f"only {agreement:.4%} of the indices agree"

    sizes = {"query": args.frames, "pool": args.pool, "dim": args.dim, "topk": args.topk, "agreement": agreement}
    row = compare(
        "matching",
        lambda: cdist_neighbours(query, pool, args.topk),
        lambda: knn(query, pool, args.topk),
        args.repeats,
        threads=torch.get_num_threads(),
        **sizes,
    )
    report([row], args.json)


if __name__ == "__main__":
    main()
