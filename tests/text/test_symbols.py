"""The symbol map: a symbol has one id, and an id one symbol."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vocolab.text import SymbolMap
from vocolab.text.symbols import SPECIAL


def test_golden():
    symbols = SymbolMap.of([["b", " ", "a"], ["ˈ", "a", "?", "p"]], ["fr", "en", "fr"])
    assert symbols.symbols == ["<unk>", "<s>", "</s>", " ", "?", "a", "b", "p", "ˈ"]
    assert symbols.languages == ["en", "fr"] and len(symbols) == 9
    assert symbols.ids(["a", " ", "p", "?"]) == [1, 5, 3, 7, 4, 2]


@given(st.lists(st.lists(st.text(min_size=1, max_size=2), max_size=8), max_size=5))
def test_ids_are_unique_and_come_back(texts):
    symbols = SymbolMap.of(texts)
    assert symbols.symbols[:4] == list(SPECIAL) and len(set(symbols.symbols)) == len(symbols)
    again = SymbolMap(symbols.symbols)
    for text in texts:
        ids = again.ids(text)
        assert ids == symbols.ids(text) and [symbols.symbols[i] for i in ids[1:-1]] == text
    assert not symbols.unknown


def test_unknown_symbols_are_counted():
    symbols = SymbolMap.of([["a"]])
    assert symbols.ids(["a", "z", "z", "y"]) == [1, 4, 0, 0, 0, 2]
    symbols.ids(["z"])
    assert symbols.unknown == {"z": 3, "y": 1} and not symbols.left_out


def test_punctuation_that_training_never_saw_is_left_out_and_counted():
    symbols = SymbolMap.of([["a", " ", ","]])
    plain = symbols.ids(["a", " ", "a", ",", " ", "a"])
    assert symbols.ids(["«", "a", " ", "—", " ", "a", ",", " ", "a", " ", "…", ".", "."]) == plain
    assert symbols.left_out == {"«": 1, "—": 1, "…": 1, ".": 2} and not symbols.unknown
    assert symbols.ids(["+", "ˈ"]) == [1, 0, 0, 2]  # a sign and a mark of stress are no punctuation
    assert symbols.ids([" ", "a", " ", " "]) == [1, 3, 5, 3, 3, 2]  # nothing is left out: as it stands


def test_a_text_can_be_said_where_a_letter_of_it_is_known():
    symbols = SymbolMap.of([["h", "ɔ̃", "ˈ", " ", ".", "1"]])
    assert all(symbols.can_say(text) for text in (["h"], ["x", "h"], ["ɔ̃"], ["1", "."], [".", "…"]))
    assert not any(symbols.can_say(text) for text in ([], [" "], ["x"], ["ˈ", "x", " ", "."], ["…", " "]))


def test_words_stay_apart_where_the_mark_between_them_is_left_out():
    symbols = SymbolMap.of([["a", "b", " "]])
    assert symbols.ids("a-b") == symbols.ids("a b") and symbols.ids("a'b") == symbols.ids("ab")
    assert symbols.left_out == {"-": 1, "'": 1}
