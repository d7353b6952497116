"""Texts of any length, with a tiny untrained model: how they are cut, said and joined."""

from __future__ import annotations

import pytest
import torch

from tests.pipelines import tiny
from tests.pipelines.test_tts import VOICE
from vocolab import TTS
from vocolab.audio import trimmed
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import Sampling
from vocolab.pipelines import passages
from vocolab.pipelines.passages import Delivery, Part, another_seed
from vocolab.text import Characters, SymbolMap

SHORT = Sampling(max_ar_steps=30, length_penalty=100.0)  # it stops only where it is cut
ONCE = Delivery(retries=0)
TEXT = "Hello there, how are you? " * 12


@pytest.fixture(scope="module")
def tts(lm_checkpoint) -> TTS:
    return TTS.from_checkpoint(lm_checkpoint)


def say(tts: TTS, *texts: str, delivery: Delivery = ONCE, sampling: Sampling = SHORT, **more) -> list[Part]:
    read = [passages.read(tts, text, sampling=sampling) for text in texts]
    return list(passages.say(tts, read, tts.get_prompt([VOICE]), sampling, delivery, **more))


def test_pieces_are_as_long_as_the_texts_of_the_training(lm_checkpoint, tmp_path):
    def longest(sampling: Sampling | None = None, ref_text: str | None = None, **card) -> int:
        path = tiny.write(tmp_path / "a.ckpt", tiny.language_model(), tiny.codec(), **card)
        tts = TTS.from_checkpoint(path)
        found = passages.read(tts, "so it is, " * 100, sampling=sampling, ref_text=ref_text)
        lengths = [len(piece.text) for piece in found.pieces]
        assert [len(ids) - 2 - len(f"{ref_text} " if ref_text else "") for ids in found.ids] == lengths
        return max(lengths)

    assert 70 < longest(longest_text=80) <= 80
    assert 140 < longest() <= 150  # a checkpoint that does not say
    assert 110 < longest(Sampling(max_ar_steps=250)) <= 120  # ten seconds of slow speech
    assert 50 < longest(Sampling(max_ar_steps=20)) <= 60  # a short sentence always fits
    assert 70 < longest(longest_text=100, prompt="prefix", ref_text="so it was all the way") <= 79


def test_punctuation_that_the_model_leaves_out_does_not_lengthen_a_text(tmp_path):
    """A sentence as long as the longest of the training is one piece, with marks at its end or not."""
    path = tiny.write(tmp_path / "a.ckpt", tiny.language_model(), tiny.codec(), longest_text=70)
    tts, sentence = TTS.from_checkpoint(path), "so it was all the way " * 3 + "home"
    assert len(sentence) == 70 and "!" not in tts.symbols.symbols
    for text in (sentence, sentence + "!", sentence.replace("way so", "way: so") + "?!"):
        found = passages.read(tts, text)
        assert [len(ids) for ids in found.ids] == [72], text
    assert len(passages.read(tts, sentence + "s").ids) == 2


def test_a_text_of_one_piece_is_as_the_model_says_it(tts):
    part = say(tts, "hello there")[0]
    assert torch.equal(part.wav, part.spoken.wav) and (part.number, part.of) == (1, 1)
    assert torch.equal(part.wav, tts("hello there", ref=VOICE, max_ar_steps=30, length_penalty=100.0))


def test_pieces_are_trimmed_and_followed_by_pauses(tts):
    parts = say(tts, TEXT)
    assert len(parts) > 2 and [part.number for part in parts] == list(range(1, len(parts) + 1))
    for part in parts:
        heard = trimmed(part.spoken.wav, 16000)
        pause = 0 if part is parts[-1] else round(0.4 * 16000)
        assert torch.equal(part.wav[: len(heard)], heard) and len(part.wav) == len(heard) + pause
        assert not part.wav[len(heard) :].any() and part.wav[0] == heard[-1] == 0
    whole = tts(TEXT, ref=VOICE, max_ar_steps=30, length_penalty=100.0)
    assert torch.equal(whole, torch.cat([part.wav for part in parts]))


def test_speed_and_pauses(tts):
    usual = say(tts, TEXT)
    slow = say(tts, TEXT, delivery=Delivery(speed=0.5, retries=0))
    for one, other in zip(usual, slow, strict=True):
        assert len(other.wav) == pytest.approx(2 * len(one.wav), abs=2)
        assert torch.equal(one.spoken.codes, other.spoken.codes)
    close = say(tts, TEXT, delivery=Delivery(pause=0.0, retries=0))
    assert len(usual[0].wav) - len(close[0].wav) == round(0.4 * 16000)
    wav = tts("hello there", ref=VOICE, speed=2.0, max_ar_steps=30, length_penalty=100.0)
    assert len(wav) == 15 * 640


def test_a_piece_knows_nothing_of_those_beside_it(tts):
    together = say(tts, TEXT, "so it is", batch_size=8)
    assert [part.passage for part in together] == [0] * (len(together) - 1) + [1]
    for one, other in zip(together, say(tts, TEXT, "so it is", batch_size=2), strict=True):
        assert torch.equal(one.spoken.codes, other.spoken.codes) and torch.allclose(one.wav, other.wav, atol=1e-5)
    alone = say(tts, together[1].piece.text)[0]
    assert torch.equal(alone.spoken.codes, together[1].spoken.codes)


def test_what_is_not_needed_yet_is_not_said(tts):
    steps: list[int] = []
    read = [passages.read(tts, TEXT * 40, sampling=SHORT)]
    parts = passages.say(tts, read, tts.get_prompt([VOICE]), SHORT, ONCE, batch_size=2, on_step=steps.append)
    next(parts), next(parts)
    assert len(read[0].pieces) > 50 and len(steps) == 30
    next(parts)
    assert len(steps) == 60


def test_pieces_that_do_not_stop_are_said_again_with_other_seeds(tts, monkeypatch):
    speak, seeds = TTS.speak, []

    def stopping(self, texts, prompt, sampling, language, seed, *more):
        seeds.append((seed, len(texts)))
        for number, one in enumerate(speak(self, texts, prompt, sampling, language, seed, *more)):
            one.stopped = seed == another_seed(5, 1) and number > 0 or seed == another_seed(5, 2)
            yield one

    monkeypatch.setattr(TTS, "speak", stopping)
    parts = say(tts, TEXT, delivery=Delivery(retries=2), seed=5)
    count = len(parts)
    assert seeds == [(5, count), (another_seed(5, 1), count), (another_seed(5, 2), 1)]
    assert [part.attempts for part in parts] == [3] + [2] * (count - 1) and all(part.spoken.stopped for part in parts)
    seeds.clear()
    assert [part.attempts for part in say(tts, "so it is", delivery=Delivery(retries=2), seed=4)] == [1]  # as it is
    greedy = Sampling(ar_temp=0.0, max_ar_steps=30)  # no seed would change it
    assert {part.attempts for part in say(tts, TEXT, delivery=Delivery(retries=2), sampling=greedy, seed=4)} == {1}
    monkeypatch.undo()
    kept = say(tts, TEXT, delivery=Delivery(retries=2), seed=5)  # none ever stops: the first is kept
    for one, other in zip(kept, say(tts, TEXT, seed=5), strict=True):
        assert one.attempts == 3 and torch.equal(one.spoken.codes, other.spoken.codes)


def test_paragraphs_of_another_script_are_left_out_and_named(tts):
    found = passages.read(tts, "hello.\n\n中中\n\nso it is")
    assert [piece.text for piece in found.pieces] == ["hello.", "so it is"] and found.left_out == ["中中"]
    with pytest.raises(VocolabError, match="knows no symbol of the text .*: text: give text in the script"):
        passages.read(tts, "中中\n\n中中")


def test_the_language_is_that_of_the_model(tts):
    several = TTS(tts.lm, tts.codec, Characters(), SymbolMap(tiny.SYMBOLS, ["de", "en"]))
    assert len(passages.read(several, TEXT, language="de").pieces) > 1
    with pytest.raises(UsageError, match="unknown language 'xx'"):
        passages.read(several, TEXT, language="xx")


def test_deliveries_that_will_not_do():
    for given, message in (
        ({"speed": 0.4}, "a speed of 0.4: --speed: give 0.5 to 2"),
        ({"pause": 11.0}, "a pause of 11: --pause: give 0 to 10"),
        ({"pause": float("nan")}, "a pause of nan: --pause"),
        ({"retries": -1}, "--retries is -1"),
    ):
        with pytest.raises(UsageError, match=message):
            Delivery(**given)
