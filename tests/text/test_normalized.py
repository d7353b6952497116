"""Training texts in words, and what is left to a phonemiser."""

from __future__ import annotations

from vocolab.parts import build, describe
from vocolab.text import Characters, NormalizedText, Text
from vocolab.text.normalisation import for_language


class Reader(Characters):
    """Reads numbers itself."""

    reads_numbers, default_language = True, "de"


def test_words_are_read_in_the_place_of_what_is_written():
    text = NormalizedText(Characters())
    assert "".join(text.symbols("Dr. No, 5 km", "en")) == "doctor no, five kilometers"
    assert "".join(text.symbols("5 km", "de")) == "fünf kilometer"
    assert text.fingerprint()["normalisation"]["rules"] == 2
    assert isinstance(build(describe(text), Text), NormalizedText)


def test_a_reader_of_numbers_gets_them_but_not_what_surrounds_them():
    assert "".join(NormalizedText(Reader()).symbols("5 Hunde, 5 km")) == "5 hunde, fünf kilometer"
    said = for_language("en", numbers=False).normalise("3 dogs, $3.50, 1.5, 5 km, 1999 😀").text
    assert said == "3 dogs, three dollars and fifty cents, 1.5, five kilometers, nineteen ninety nine grinning face"
