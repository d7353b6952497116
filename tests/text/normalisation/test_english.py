"""English as it is written, and as it is said."""

# ruff: noqa: E501 (a sentence is one line)

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocolab.text.normalisation import for_language

english = for_language("en")
TABLE = [
    ("The 2 dogs cost $3.50 on 5 May 2021!", "The two dogs cost three dollars and fifty cents on the fifth of May, twenty twenty one!"),
    ("Dr. Smith lives at 221B Baker St. since 1999, e.g. No. 5.", "Doctor Smith lives at two hundred twenty one B Baker Street since nineteen ninety nine, for example number five."),
    ("At 10:30 am, -5°C, 98%, 1,234.5 km.", "At ten thirty AM, minus five degrees Celsius, ninety eight percent, one thousand two hundred thirty four point five kilometers."),
    ("Chapter IV, Henry VIII, World War II, Part I; I am Malcolm X.", "Chapter four, Henry the eighth, World War two, Part one; I am Malcolm X."),
    ("Mail bob.b@x.com, see https://a.com/b-c.", "Mail bob dot b at x dot com, see a dot com slash b dash c."),
    ("May 5th, 2021; Jan. 5; 5/6/2021; 2021-05-05", "May fifth, twenty twenty one; January fifth; May sixth, twenty twenty one; May fifth, twenty twenty one"),
    ("He may 5 times, in the 1990s and the '90s.", "He may five times, in the nineteen nineties and the nineties."),
    ("$5 million, $1.5bn, 5€, £1, $0.99, 3 USD", "five million dollars, one point five billion dollars, five euros, one pound, ninety nine cents, three dollars"),
    ("½ cup, 3½ cups, 1/2 of it, 2 3/4", "one half cup, three and a half cups, one half of it, two and three quarters"),
    ("10–20 km, pages 10-20, 1939-1945", "ten to twenty kilometers, pages ten to twenty, nineteen thirty nine to nineteen forty five"),
    ("version 1.2.3, 007, 0.05, A4, GPT-4", "version one point two point three, zero zero seven, zero point zero five, A four, GPT-four"),
    ("10:00, 14:30, 5 p.m., 9:05", "ten o'clock, fourteen thirty, five PM, nine oh five"),
    ("St. Paul is on Main St. Then etc. And the U.S. Army.", "Saint Paul is on Main Street. Then et cetera. And the U S Army."),
    ("J. R. R. Tolkien met John F. Kennedy. Plan b. Then", "J R R Tolkien met John F Kennedy. Plan b. Then"),
    ("call 555-123-4567 or +1 (555) 123-4567", "call five five five, one two three, four five six seven or plus one, five five five, one two three, four five six seven"),
    ("#FunTime @bob R&D x² + y³ = z", "hashtag Fun Time at bob R and D x squared plus y cubed equals z"),
    ("1st, 22nd, 20th century, 1,000th", "first, twenty second, twentieth century, one thousandth"),
    ("The dogs’ “ﬁne” Ｆｕｌｌ ①… so—he", "The dogs' “fine” Full one… so — he"),
    ("-3, +4, 1,000,000 and 12345678901234567", "minus three, plus four, one million and one two three four five six seven eight nine zero one two three four five six seven"),
    ("№ 5, # 3", "number five, number three"),
    ("$2M, $.50 or .5 of it...", "two million dollars, fifty cents or zero point five of it…"),
    ("10:00-12:00, 9am–5pm, 9:30 - 10:15 a.m.", "ten o'clock to twelve o'clock, nine AM to five PM, nine thirty to ten fifteen AM."),
    ("It is *really* 5 p.m.", "It is really five PM."),
]  # fmt: skip


@pytest.mark.parametrize("written, spoken", TABLE, ids=[written for written, _ in TABLE])
def test_table(written, spoken):
    found = english.normalise(written)
    assert (found.text, found.left_over) == (spoken, {})
    assert english.normalise(spoken).text == spoken


def test_what_no_rule_reads_stays_and_is_counted():
    found = english.normalise("Привет, 5 ∑ 你好 ∑")
    assert found.text == "Привет, five ∑ 你好 ∑"
    assert found.left_over == dict.fromkeys("Привет你好", 1) | {"∑": 2}


def test_emoji_are_named():
    assert english.normalise("so 😀😀!").text == "so grinning face, grinning face!"
    assert english.normalise("👍").text.startswith("thumbs up")


PIECES = st.sampled_from(
    "a I the May may Dr. St. No. $ € % # @ & * _ / - – . , : ; ' ’ ( ) ° km m x² ½ 1st III V 0 5 12 05 1999 2021 3.50 "
    "1,234 10:30 a.m. U.S. e.g. a@b.com www.a.com/b #tag 😀 é ß ж 你 １ ٣".split(" ")
    + [" "]
)
WRITTEN = st.lists(st.tuples(PIECES, st.sampled_from(["", " "])), max_size=12).map(
    lambda pieces: "".join(piece + space for piece, space in pieces)
)


@settings(deadline=None)
@given(WRITTEN)
def test_no_digit_is_left_and_words_stay_as_they_are(text):
    once = english.normalise(text).text
    assert not re.search(r"\d", once)
    assert english.normalise(once).text == once


@settings(deadline=None)
@given(st.text(), st.text(st.characters(min_codepoint=128)))
def test_any_characters_and_no_letter_is_lost(anything, foreign):
    """Letters that no abbreviation, address or Roman numeral of English has, all stay."""
    english.normalise(anything)
    said = unicodedata.normalize("NFKC", english.normalise(foreign).text).casefold()
    for letter in re.sub(r"[\W\d_]", "", unicodedata.normalize("NFKC", foreign)):
        assert letter.isascii() or letter == "ʼ" or letter.casefold() in said  # an apostrophe is one of any kind
