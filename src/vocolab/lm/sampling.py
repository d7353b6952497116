"""From logits to tokens: pure functions of logits (B, V)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Names and defaults are those of the command line's flags."""

    ar_temp: float = 0.95  # 0: the likeliest
    nar_temp: float = 0.2
    min_ar_temp: float = -1.0  # 0 or more: dynamic temperature between the two
    min_nar_temp: float = -1.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    repetition_penalty_decay: float = 0.0
    length_penalty: float = 0.0  # above 0 lengthens
    beam_width: int = 0
    mirostat_tau: float = 0.0  # 0: off
    mirostat_eta: float = 0.1
    max_ar_steps: int = 900  # frames
    max_nar_levels: int = 7
