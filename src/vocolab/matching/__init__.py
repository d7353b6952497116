"""Matching of frames: cosine nearest neighbours."""

from vocolab.matching.knn import Pool, average, knn

__all__ = ["Pool", "average", "knn"]
