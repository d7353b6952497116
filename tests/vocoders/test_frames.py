from __future__ import annotations

import torch

from vocolab import audio
from vocolab.vocoders import FrameDiscriminator, adversarial_loss, discriminator_loss


def small() -> FrameDiscriminator:
    torch.manual_seed(0)
    return FrameDiscriminator(((256, 64), (512, 128)), (16, 16))


def test_shapes_and_rows(speech_file):
    wav = audio.read(speech_file)[0][8000:22080].view(2, 7040)
    judgements = small()(wav)
    assert [len(j.maps) for j in judgements] == [3, 3]
    assert [tuple(j.maps[0].shape) for j in judgements] == [(2, 16, 7040 // 64 + 1), (2, 16, 7040 // 128 + 1)]
    for together, alone in zip(judgements, small()(wav[1:]), strict=True):
        assert torch.allclose(together.score[1:], alone.score, atol=1e-5)


def test_it_learns_to_tell_speech_from_noise_of_its_level(speech_file):
    speech = audio.read(speech_file)[0][8000:36160].view(4, 7040)
    discriminator = small()
    optimizer = torch.optim.Adam(discriminator.parameters(), 3e-3)
    for _ in range(100):
        noise = torch.randn_like(speech) * speech.std(1, keepdim=True)
        loss = discriminator_loss(*discriminator.pair(speech, noise))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh = torch.randn_like(speech) * speech.std(1, keepdim=True)
    assert adversarial_loss(discriminator(speech)) < 0.5 < adversarial_loss(discriminator(fresh))


def test_rounding_is_not_magnified():
    """Near silence too, a change of the last bit stays one: ranks with other batch sizes learn the same."""
    wav = torch.zeros(1, 7040, dtype=torch.float32)
    wav[0, ::700] = 1e-4
    one, two = (small()(w)[0].score for w in (wav, wav + 1e-9))
    assert (one - two).abs().max() < 1e-5
