"""Where texts are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocolab.text.pieces import PAUSES, Piece, cut, paragraphs, pause_after


def texts(*args, **kwargs) -> list[str]:
    return [piece.text for piece in cut(*args, **kwargs)]


def test_a_text_that_fits_is_one_piece():
    assert cut("  So it is,\tDr. Who.  ", 100) == [Piece("So it is, Dr. Who.", "paragraph")]


def test_sentences_share_a_piece_where_they_fit():
    text = "One two three. Four five six! Seven eight nine? Ten."
    found = cut(text, 32)
    assert found == [Piece("One two three. Four five six!", "sentence"), Piece("Seven eight nine? Ten.", "paragraph")]


@pytest.mark.parametrize(
    "language, longest, sentences",
    [
        ("en", 50, ["Dr. Smith paid $3.50 to J. R. R. Tolkien.", "He left at 5 p.m. on Jan. 3."]),
        ("en-us", 40, ["MR. BROWN LIVES IN ST. LOUIS.", "HE IS OLD AND WISE."]),
        ("", 30, ["“Where is it?” he said.", "She smiled… and left."]),
        ("en", 20, ['He said: "I go."', "Then he went away."]),
        ("en", 30, ["So it was... Really?!", "Version 2.0.1 of a.b.com."]),
        ("de", 40, ["Z. B. am 3. Mai kam Dr. Maier zu uns.", "Er ging um 17.30 Uhr."]),
        ("cmn", 8, ["今天天气很好。", "我们去公园吧！", "你说什么？"]),
        ("hi", 20, ["मैं घर जा रहा हूँ।", "तुम कहाँ हो?"]),
        ("ar", 13, ["كيف حالك؟", "أنا بخير.", "شكرا جزيلا!"]),
    ],
)  # fmt: skip
def test_sentences_of_many_kinds(language, longest, sentences):
    found = cut(("" if language == "cmn" else " ").join(sentences), longest, language)
    assert found == [*(Piece(text, "sentence") for text in sentences[:-1]), Piece(sentences[-1], "paragraph")]


def test_long_sentences_are_cut_at_clauses_about_equally():
    text = (
        "When the sun rose over 1,000 hills at 10:30, the birds, which had slept, began to sing (loudly); nobody heard."
    )
    found = cut(text, 50)
    assert [piece.end for piece in found] == ["clause", "clause", "paragraph"]
    assert all(25 <= len(piece.text) <= 50 for piece in found), found
    assert found[0].text == "When the sun rose over 1,000 hills at 10:30,"


def test_clauses_without_spaces():
    assert texts("山高，水长，风清，月明，人和，事顺。", 9) == ["山高，水长，风清，", "月明，人和，事顺。"]
    assert texts("the end—or so it seemed to him—was near", 20) == ["the end—", "or so it seemed", "to him—was near"]


def test_without_punctuation_words_are_kept():
    text = "THE BIRCH CANOE SLID ON THE SMOOTH PLANKS GLUE THE SHEET TO THE DARK BLUE BACKGROUND"
    found = cut(text, 30)
    assert " ".join(piece.text for piece in found) == text
    assert [piece.end for piece in found] == ["word", "word", "paragraph"]
    assert all(22 <= len(piece.text) <= 30 for piece in found), found


def test_one_endless_word_is_cut_itself():
    assert texts("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]
    marked = "e\u0301" * 9  # letters with combining accents
    assert texts(marked, 5) == ["e\u0301" * 2] * 4 + ["e\u0301"]


def test_paragraphs():
    assert paragraphs("One\nline.\n \nTwo.\r\n\r\nThree.\n\n* * *\n\nFour.") == ["One line.", "Two.", "Three.", "Four."]
    assert paragraphs("One.\nTwo.\n") == ["One.", "Two."]
    found = cut("Chapter I\n\nIt was.\n\n* * *\n\nSo.", 50)
    assert found == [Piece(text, "paragraph") for text in ("Chapter I", "It was.", "So.")]


@pytest.mark.parametrize("text", ["", " \n\t ", "...", "?! — “”", "* * *\n\n* * *", "😀"])
def test_nothing_to_say(text):
    assert cut(text, 10) == []


def test_marks_that_stand_alone_go_with_their_neighbours():
    assert texts("— — — so it is", 10) == ["— — — so it is"]
    assert texts("so it is . . . . . and on", 12) == ["so it", "is . . . . .", "and on"]


def test_lengths_are_those_of_the_measure():
    found = texts("你好世界。" * 4, 24, "zh", lambda text: 3.0 * len(text))
    assert found == ["你好世界。"] * 4
    assert texts("so it is. " * 3, 19, "", lambda text: len(text.strip())) == ["so it is.", "so it is. so it is."]


def test_pauses_grow_with_the_end():
    lengths = [pause_after(Piece("a", end)) for end in ("word", "clause", "sentence", "paragraph")]
    assert lengths == sorted(lengths) == list(PAUSES.values()) and lengths[0] > 0


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('ab é\u0301,.;!?…—()"“” \n中，。1'), max_size=120), st.integers(1, 40))
def test_nothing_is_lost_and_nothing_is_too_long(text, longest):
    found = cut(text, longest)
    said = "".join("".join(piece.text.split()) for piece in found)
    assert [c for c in said if c.isalnum()] == [c for c in text if c.isalnum()]
    for piece in found:
        assert any(c.isalnum() for c in piece.text)
        letters = sum(c.isalnum() for c in piece.text)
        assert letters <= longest
    assert not found or found[-1].end == "paragraph"


def test_a_book_is_cut_quickly_and_evenly():
    book = "\n\n".join(["It was the best of times, it was the worst of times. Dr. Who said so, and left."] * 2000)
    found = cut(book, 60)
    assert len(found) == 4000 and max(len(piece.text) for piece in found) <= 60
