"""Clusters of vectors: Lloyd's algorithm, deterministic for its seed."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 8192  # points compared with all centres at once


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index (N,) of the nearest of centres (V, D) to each of points (N, D)."""
    squares = centres.square().sum(dim=1)
    # |p - c|² without |p|², which is the same for all centres.
    parts = [torch.addmm(squares, rows, centres.T, alpha=-2).argmin(dim=1) for rows in points.split(ROWS)]
    return torch.cat(parts) if parts else points.new_zeros(0, dtype=torch.long)


def means(points: Tensor, members: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean (count, D) of the points (N, D) of each cluster, members (N,) naming theirs, and the sizes (count,).
    The mean of an empty one is zero.
    """
    sizes = torch.bincount(members, minlength=count)
    if points.is_cuda:  # index_add_ adds in any order there: another sum each time
        sums = torch.nn.functional.one_hot(members, count).to(points.dtype).T @ points
    else:
        sums = points.new_zeros(count, points.shape[1]).index_add_(0, members, points)
    return sums / sizes.clamp(min=1)[:, None], sizes


def kmeans(points: Tensor, count: int, seed: int = 0, iterations: int = 25) -> Tensor:
    """Centres (count, D) of points (N, D), N >= count: Lloyd's algorithm from `count` points drawn without repetition.
    (On the built-in speech, starting as k-means++ does ends within 0.2 % of the same error.)

    A cluster that loses all its points starts anew at one of those farthest from their centres. Ends early where no
    point changes its cluster.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randperm(len(points), generator=generator)[:count].to(points.device)]
    members: Tensor | None = None
    for _ in range(iterations):
        previous, members = members, nearest(points, centres)
        if previous is not None and torch.equal(previous, members):
            break
        new, sizes = means(points, members, count)
        empty = (sizes == 0).nonzero().flatten()
        if len(empty):
            distances = (points - centres[members]).square().sum(dim=1)
            new[empty] = points[distances.topk(len(empty)).indices]
        centres = new
    return centres
