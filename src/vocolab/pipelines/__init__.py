"""Inference. Imports no Lightning."""

from vocolab.pipelines.knnvc import KNNVC, Voice

__all__ = ["KNNVC", "Voice"]
