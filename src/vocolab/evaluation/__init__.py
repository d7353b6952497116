"""How good speech is, in figures with intervals: `vocolab evaluate`."""

from vocolab.evaluation.corpus import HeldOut, held_out
from vocolab.evaluation.pairs import folder_pairs, listed_pairs
from vocolab.evaluation.run import evaluate
from vocolab.evaluation.sample import Made, Sample, Subject

__all__ = ["HeldOut", "Made", "Sample", "Subject", "evaluate", "folder_pairs", "held_out", "listed_pairs"]
