"""The training of each family."""

from vocolab.tasks.base import Task
from vocolab.tasks.schedules import Constant, Schedule, StepDecay, WarmupCosine
from vocolab.tasks.vocoder import VocoderTask

__all__ = ["Constant", "Schedule", "StepDecay", "Task", "VocoderTask", "WarmupCosine"]
