"""Phonemes: espeak's reading, the same symbols for the same text however it is spaced."""

from __future__ import annotations

import pickle
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocolab.data.corpora.builtin import BuiltinSpeech
from vocolab.errors import VocolabError
from vocolab.parts import build, describe
from vocolab.text import Phonemes, SymbolMap, phonemes

SENTENCE = "The quick brown fox, it's said, jumps over 3.5 lazy dogs!"


@pytest.fixture(scope="module")
def text() -> Phonemes:
    return Phonemes()


@pytest.mark.parametrize(
    "given, language, expected",
    [
        ("Hello, world!", "", "həlˈoʊ, wˈɜːld!"),
        ("It costs 3.5 dollars, at 10:30.", "en", "ɪt kˈɔsts θɹˈiː pɔɪnt fˈaɪv dˈɑːlɚz, æt tˈɛn θˈɜːɾi."),
        ('He said "hi" (twice) — no…', "en-us", 'hiː sˈɛd "hˈaɪ" (twˈaɪs) — nˈoʊ…'),
        ("Bonjour, ça va bien?", "fr", "bɔ̃ʒˈuʁ, sa vˈa bjˈɛ̃?"),
        ("¿Qué tal?", "es", "¿kˈe tˈal?"),
        ("perché no", "it", "perkˌe nˈɔ"),
        ("Привет, мир!", "ru", "prʲivʲˈet, mʲˈir!"),
    ],
)
def test_golden_readings(text, given, language, expected):
    assert "".join(text.symbols(given, language)) == expected


def test_a_symbol_is_a_letter_with_its_marks(text):
    assert text.symbols("Thou.") == ["ð", "ˈ", "a", "ʊ", "."]
    assert text.symbols("bien", "fr") == ["b", "j", "ˈ", "ɛ̃"]  # the tilde combines
    assert text.symbols("нет", "ru") == ["n", "ʲ", "ˈ", "e", "t"]
    assert (
        text.symbols("你好 世界。", "cmn")[8:]
        == [" ", "s.", "ˈ", "i.", "5", " ", "t", "ɕ", "ˈ", "i", "ɛ", "5", "。"][0:]
    )
    assert phonemes._clusters("t͡sa") == ["t͡s", "a"]
    assert phonemes._clusters("a\u200db") == ["a", "b"]  # a joiner without width


@pytest.mark.parametrize("space", ["  ", "\n", "\t", "\r\n\r\n", "\u00a0", "\u2003 \u2003"])
def test_a_word_boundary_is_one_space(text, space):
    """The reference has two in training and one in inference, and reads a text of several lines as several texts."""
    expected = text.symbols(SENTENCE)
    assert text.symbols(space + SENTENCE.replace(" ", space) + space) == expected
    words = "".join(expected)
    assert "  " not in words and words.count(" ") == 12 and words == words.strip()


def test_what_was_read_before_changes_nothing(text):
    texts = [("Read me!", "en"), ("le chat", "fr"), ("read", "en-gb"), ("a", ""), ("Wort", "de"), ("…", "en")]
    expected = [Phonemes().symbols(*pair) for pair in texts]
    for _ in range(2):
        assert [text.symbols(*pair) for pair in texts] == expected
        assert [text.symbols(*pair) for pair in reversed(texts)] == expected[::-1]


def test_question_marks_are_not_p(text):
    """The reference's map gives both one id."""
    symbols = SymbolMap.of([text.symbols("A pup? Stop; no: yes, 'well'!")])
    ids = symbols.ids([*"p?;:,!"])[1:-1]
    assert len(set(ids)) == 6 and 0 not in ids


def test_the_built_in_corpus_in_its_languages(text):
    utterances = [u for split in BuiltinSpeech().splits().values() for u in split]
    read = [text.symbols(u.text, u.language) for u in utterances]
    symbols = SymbolMap.of(read, [u.language for u in utterances])
    assert {"en", "fr", "it", "ru"} <= {u.language for u in utterances}
    assert 40 < len(symbols) < 128, symbols.symbols
    assert not [s for s in symbols.symbols[4:] if s.isdigit() or (len(s) > 1 and s.isascii())]
    for symbol_list in read:
        ids = symbols.ids(symbol_list)
        assert (ids[0], ids[-1]) == (1, 2) and [symbols.symbols[i] for i in ids[1:-1]] == symbol_list
    assert not symbols.unknown


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["", "en", "fr", "cmn", "ru"]))
def test_any_text_is_read_or_refused_in_one_line(given_text, language):
    text = _SHARED
    try:
        symbols = text.symbols(given_text, language)
    except VocolabError as error:
        assert "no text" in str(error) and "\n" not in str(error)
        return
    assert symbols and all(symbols) and symbols == text.symbols(given_text, language)
    assert symbols[0] != " " != symbols[-1]
    assert all((a, b) != (" ", " ") for a, b in zip(symbols, symbols[1:], strict=False))
    assert not any(len(s) > 1 and any(c.isspace() for c in s) for s in symbols)


_SHARED = Phonemes()


def test_long_text(text):
    long = " ".join(["A sentence of some length, said again."] * 52)
    assert len(long) > 2000
    symbols = text.symbols(long)
    again = text.symbols("A sentence of some length, said again.")
    assert symbols == [*again, *([" ", *again] * 51)]


@pytest.mark.parametrize("empty", ["", " ", "\n\t "])
def test_no_text(text, empty):
    with pytest.raises(VocolabError, match="no text.*give at least one word"):
        text.symbols(empty)


@pytest.mark.parametrize(
    "name, espeak", [("", "en-us"), ("en", "en-us"), ("EN_us", "en-us"), ("fr", "fr-fr"), ("ru-RU", "ru"), ("de", "de")]
)
def test_languages(text, name, espeak):
    assert text.resolve(name) == espeak


@pytest.mark.parametrize("name, near", [("en-uk", "en-gb"), ("xx", "xex"), ("english", "en-us"), ("frr", "fr")])
def test_an_unknown_language_names_near_ones(text, name, near):
    with pytest.raises(VocolabError, match=f"unknown language '{name}'.*{near}.*espeak has"):
        text.symbols("word", name)
    with pytest.raises(VocolabError, match=f"unknown language '{name}'"):
        Phonemes(name).symbols("word")


def test_without_espeak(monkeypatch):
    phonemes._espeak.cache_clear()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    try:
        with pytest.raises(VocolabError, match=r"phonemes need espeakng_loader.*pip install 'vocolab\[phonemes\]'"):
            phonemes._espeak()
    finally:
        phonemes._espeak.cache_clear()


def test_it_travels(text):
    assert build(describe(Phonemes("fr-fr"))).default_language == "fr-fr"
    text.symbols("loaded")
    assert pickle.loads(pickle.dumps(text)).symbols("loaded") == text.symbols("loaded")
    assert text.fingerprint()["espeak"].startswith("1.5")
