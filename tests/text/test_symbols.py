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
    assert symbols.unknown == {"z": 3, "y": 1}
