"""The spectrograms beside the codes of spoken samples."""

from __future__ import annotations

import pytest
import torch

from tests.data.parts import Loudness
from vocolab.callbacks.spoken import _mel


@pytest.mark.parametrize(("hop", "sample_rate"), [(320, 24000), (640, 16000), (1600, 8000)])
def test_a_frame_of_the_mel_is_a_frame_of_the_codec(hop, sample_rate):
    codec = Loudness(hop=hop, sample_rate=sample_rate)
    tone = torch.sin(torch.arange(20 * hop) / sample_rate * 2 * torch.pi * 440)
    mel = _mel(torch.cat([torch.zeros(10 * hop), tone]), codec)
    assert mel.shape == (80, 30)
    loudness = mel.amax(dim=0)
    assert loudness[12:].min() > 3 + loudness[:8].max()
    assert _mel(tone[:hop], codec).isfinite().all()  # a single frame, as an untrained model may say
