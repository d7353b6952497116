"""What "Speak" gives for a text and a voice, without a page."""

from __future__ import annotations

import pytest
import torch

from vocolab import audio
from vocolab.demo.limits import Limits
from vocolab.demo.speaking import Manner, Speaking
from vocolab.errors import VocolabError
from vocolab.pipelines import TTS

QUICK = {"max_ar_steps": 20}


def test_what_the_model_says(speaking, speech_file):
    steps: list[int] = []
    found = speaking("Some words.", [speech_file], None, Manner(QUICK, seed=3), steps.append)
    wav, rate = audio.read(found.speech)
    expected = speaking.tts("Some words.", [speech_file], seed=3, **QUICK)
    assert rate == speaking.tts.sample_rate and (wav - expected.clamp(-1, 1)).abs().max() < 2 / 2**15
    assert found.speech.name == f"spoken-as-{speech_file.stem}.wav" and found.picture.exists()
    assert steps == list(range(1, 21))
    assert "it did not stop by itself and was cut: another seed may do better" in found.told


def test_every_option_counts(speaking, speech_file, undrawn):
    def wav(speed=1.0, seed=0, **sampling):
        manner = Manner(QUICK | sampling, speed, seed)
        return audio.read(speaking("Some words.", [speech_file], None, manner).speech)[0]

    usual = wav()
    assert torch.equal(usual, wav())
    assert not torch.equal(usual, wav(seed=1))
    assert not torch.equal(usual, wav(ar_temp=0.0))
    assert len(wav(max_ar_steps=10)) == len(usual) // 2
    assert len(wav(speed=2.0)) == pytest.approx(len(usual) / 2, rel=0.1)


def test_what_will_not_do(speaking, speech_file, folder):
    for text, files, manner, line in [
        ("", [speech_file], Manner(), "no text: write something to say"),
        ("...", [speech_file], Manner(), "no letter or digit in the text ('...'): the text: give something to say"),
        ("Words.", [], Manner(), "no voice: upload recordings of the voice, or make one with the microphone"),
    ]:
        with pytest.raises(VocolabError) as error:
            speaking(text, files, None, manner)
        assert str(error.value) == line
    assert list(folder.iterdir()) == []


def test_a_model_that_needs_the_text_of_the_voice(prefix_checkpoint, speech_file, folder):
    speaking = Speaking(TTS.from_checkpoint(prefix_checkpoint), Limits(), folder)
    with pytest.raises(VocolabError, match="goes on from what the references say"):
        speaking("Words.", [speech_file], None, Manner(QUICK))
    assert speaking("Words.", [speech_file], None, Manner(QUICK, ref_text="The old lighthouse.")).speech.exists()
