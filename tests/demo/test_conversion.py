"""What "Convert" gives for a recording and a voice, without a page."""

from __future__ import annotations

import pytest
import soundfile
import torch

from vocolab import audio
from vocolab.demo.conversion import Conversion, Manner
from vocolab.demo.limits import Limits
from vocolab.errors import VocolabError

MANNER = Manner(topk=4)


def test_what_the_command_gives(conversion, speech_file, speech_folder, vc):
    voice = sorted((speech_folder / "3002").iterdir())[:2]
    found = conversion(str(speech_file), [str(voice[0])], str(voice[1]), MANNER)
    wav, rate = audio.read(found.speech)
    expected = vc.convert(speech_file, vc.get_voice(voice)).wav
    assert rate == 16000 and (wav - expected).abs().max() < 2 / 2**15
    assert soundfile.info(found.speech).subtype == "PCM_16"
    assert found.speech.name == f"{speech_file.stem}-as-{voice[0].stem}.wav"
    assert found.picture.read_bytes().startswith(b"\x89PNG")
    assert found.told.startswith("4.4 s of speech, made in ")
    assert "s of the voice; half a minute or more makes a better voice" in found.told


def test_every_option_counts(conversion, speech_file, tmp_path, undrawn):
    speech = audio.read(speech_file)[0][8000:24000]
    pause = 0.0011 * torch.sin(torch.arange(16000) * 0.08)  # a hum at -59 dB
    audio.write(tmp_path / "speech.wav", torch.cat([speech, pause, speech]), 16000)
    audio.write(tmp_path / "voice.wav", torch.cat([pause, speech.flip(0), pause]), 16000)

    def wav(**given):
        manner = Manner(**{"topk": 4} | given)
        return audio.read(conversion(tmp_path / "speech.wav", [tmp_path / "voice.wav"], None, manner).speech)[0]

    usual = wav()
    assert torch.equal(usual, wav())
    assert not torch.equal(usual, wav(topk=1))
    assert not torch.equal(usual, wav(trim=False))
    assert len(wav(duration=2.0)) == 32000
    assert audio.loudness(usual, 16000) - audio.loudness(wav(loudness=-26.0), 16000) > 5
    assert (wav(silence=-55.0) == 0).sum() > (usual == 0).sum() + 8000


def test_the_shortest_speech_has_a_picture(conversion, speech_file, tmp_path):
    audio.write(tmp_path / "short.wav", audio.read(speech_file)[0][8000:8401], 16000)
    assert conversion(tmp_path / "short.wav", [speech_file], None, MANNER).picture.exists()


def test_nothing_is_left_of_what_fails(conversion, speech_file, monkeypatch, folder):
    monkeypatch.setattr("vocolab.demo.results.mel_figure", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError):
        conversion(speech_file, [speech_file], None, MANNER)
    with pytest.raises(VocolabError):
        conversion(None, [speech_file], None, MANNER)
    assert list(folder.iterdir()) == []


def test_out_of_memory_is_said(vc, speech_file, monkeypatch, folder):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(vc, "convert", full, raising=True)
    with pytest.raises(VocolabError) as error:
        Conversion(vc, Limits(), folder)(speech_file, [speech_file], None, MANNER)
    assert str(error.value) == "out of memory: give shorter recordings"
