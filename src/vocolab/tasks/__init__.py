"""The training of each family."""

from vocolab.tasks.aligned import AlignedVocoderTask
from vocolab.tasks.base import Task
from vocolab.tasks.medusa import MedusaTask
from vocolab.tasks.schedules import Constant, InverseSquareRoot, Schedule, StepDecay, WarmupCosine
from vocolab.tasks.valle import VALLETask
from vocolab.tasks.vocoder import VocoderTask

__all__ = [
    "AlignedVocoderTask",
    "Constant",
    "InverseSquareRoot",
    "MedusaTask",
    "Schedule",
    "StepDecay",
    "Task",
    "VALLETask",
    "VocoderTask",
    "WarmupCosine",
]
