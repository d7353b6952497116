"""What happens around an update: checkpoints, averages, samples, times."""

from vocolab.callbacks.checkpoint import Checkpoint
from vocolab.callbacks.ema import EMA
from vocolab.callbacks.evaluate import Evaluate
from vocolab.callbacks.official import OfficialFiles
from vocolab.callbacks.progress import Progress
from vocolab.callbacks.samples import Predictions, Samples
from vocolab.callbacks.spoken import SpokenSamples
from vocolab.callbacks.summary import Summary
from vocolab.callbacks.timing import Timing

__all__ = [
    "EMA",
    "Checkpoint",
    "Evaluate",
    "OfficialFiles",
    "Predictions",
    "Progress",
    "Samples",
    "SpokenSamples",
    "Summary",
    "Timing",
]
