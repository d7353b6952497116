"""The frames of a voice."""

from __future__ import annotations

import pytest
import torch

from vocolab.errors import VocolabError
from vocolab.pipelines.voice import Gathering, Voice


def gather(frames: torch.Tensor, piece: int, limit: int | None, seed: int = 0) -> torch.Tensor:
    gathering = Gathering(limit, seed)
    for part in frames.split(piece):
        gathering.add([part])
    return gathering.voice().matching


def test_pieces_of_any_size_give_the_same_choice():
    frames = torch.arange(1000.0)[:, None]
    chosen = gather(frames, 1000, 100)
    assert len(chosen.unique()) == 100
    for piece in (1, 7, 100, 999):
        assert torch.equal(gather(frames, piece, 100), chosen)
    assert not torch.equal(gather(frames, 7, 100, seed=1), chosen)
    assert torch.equal(Voice(frames, frames).chosen(100).matching, chosen)


def test_every_frame_is_as_likely():
    """Over 400 seeds each of 50 frames is chosen about 80 times (a standard deviation is 8)."""
    frames = torch.arange(50)[:, None]
    counts = torch.stack([gather(frames, 13, 10, seed) for seed in range(400)]).flatten().bincount(minlength=50)
    assert counts.sum() == 4000 and counts.min() > 48 and counts.max() < 112


def test_fewer_frames_than_the_limit_stay_as_they_are():
    frames = torch.randn(30, 4)
    assert torch.equal(gather(frames, 7, 30), frames) and torch.equal(gather(frames, 7, None), frames)
    voice = Voice(frames, frames)
    assert voice.chosen(30) is voice


def test_two_layers_keep_their_rows_together():
    frames = torch.arange(100.0)[:, None]
    chosen = Voice(frames, frames + 1000).chosen(9)
    assert torch.equal(chosen.synthesis, chosen.matching + 1000)


def test_a_voice_needs_frames_and_as_many_of_each():
    with pytest.raises(VocolabError, match="no reference speech"):
        Gathering().voice()
    with pytest.raises(VocolabError, match="2 frames to speak for 3"):
        Voice(torch.zeros(3, 1), torch.zeros(2, 1))
