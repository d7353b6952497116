"""Characters: composed, lower case, one space."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocolab.errors import VocolabError
from vocolab.parts import build, describe
from vocolab.text import Characters


def test_golden():
    assert Characters().symbols("  Hello,\n 3 WORLDS! ") == list("hello, 3 worlds!")
    assert Characters().symbols("Éa", "fr") == Characters().symbols("E\u0301a") == ["é", "a"]
    assert Characters().symbols("J\u030c") == ["ǰ"]  # composed in lower case alone


@given(st.text(max_size=40))
def test_any_text(text):
    try:
        symbols = Characters().symbols(text)
    except VocolabError as error:
        assert not text.split() and "\n" not in str(error)
        return
    joined = "".join(symbols)
    assert joined == joined.strip() and "  " not in joined and all(len(s) == 1 for s in symbols)
    assert Characters().symbols(unicodedata.normalize("NFD", text)) == symbols
    assert Characters().symbols(joined) == symbols


def test_no_text():
    with pytest.raises(VocolabError, match="no text"):
        Characters().symbols(" \n")


def test_it_travels():
    assert isinstance(build(describe(Characters())), Characters) and Characters().fingerprint() == {}
