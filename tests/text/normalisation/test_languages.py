"""Other languages than English as they are written, and as they are said; what there is without the extra."""

# ruff: noqa: E501 (a sentence is one line)

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocolab.text.normalisation import characters_only, emoji, for_language

TABLE = {
    "de": [
        ("Die 2 Hunde kosteten 3,50 € am 5. Mai 2021!", "Die zwei Hunde kosteten drei Euro fünfzig am fünften Mai zweitausendeinundzwanzig!"),
        ("Dr. Müller wohnt z.B. in Nr. 5, um 10:30 Uhr, -5°C, 98%.", "Doktor Müller wohnt zum Beispiel in Nummer fünf, um zehn Uhr dreißig, minus fünf Grad Celsius, achtundneunzig Prozent."),
        ("1.234,5 km, 1 Hund, 1 €, 01.02.2020, 3.5, Kapitel IV", "eintausendzweihundertvierunddreißig Komma fünf Kilometer, ein Hund, ein Euro, erster Februar zweitausendzwanzig, drei Komma fünf, Kapitel vier"),
        ("1.234.567 Euro, Version 1.2.3, 10:00-12:00 Uhr", "eine Million zweihundertvierunddreißigtausendfünfhundertsiebenundsechzig Euro, Version eins Punkt zwei Punkt drei, zehn Uhr bis zwölf Uhr"),
    ],
    "fr": [
        ("Les 2 chiens ont coûté 3,50 € le 5 mai 2021 !", "Les deux chiens ont coûté trois euros cinquante le cinq mai deux mille vingt-et-un!"),
        ("Il est 10h30, -5 °C, 98 %, le 1er mai, M. Dupont, 2e, n° 5, 1 000 km", "Il est dix heures trente, moins cinq degrés Celsius, quatre-vingt-dix-huit pour cent, le premier mai, monsieur Dupont, deuxième, numéro cinq, mille kilomètres"),
    ],
    "es": [
        ("Los 2 perros costaron 3,50 € el 5 de mayo de 2021.", "Los dos perros costaron tres euros con cincuenta el cinco de mayo de dos mil veintiuno."),
        ("A las 10:30, -5 °C, 98 %, el Sr. Pérez, n.º 5, 1.º, 21", "A las diez treinta, menos cinco grados Celsius, noventa y ocho por ciento, el señor Pérez, número cinco, primero, veintiuno"),
    ],
    "ru": [
        ("2 дома стоили 3,50 руб. 5 мая 2021 г.", "два дома стоили три рубля пятьдесят пятого мая две тысячи двадцать первого года"),
        ("В 10:30, -5 °C, 98%, 21 км, 3,5 кг, т.е. 5-й", "В десять тридцать, минус пять градусов Цельсия, девяносто восемь процентов, двадцать один километр, три целых пять десятых килограмма, то есть пятый"),
        ("10:00-12:30", "десять ноль ноль — двенадцать тридцать"),
    ],
    "it": [("Il 5 maggio 2021 costava 3,50 €, 1º", "Il cinque maggio duemilaventuno costava tre euro e cinquanta, primo")],
    "pl": [("3,5 km, -5 °C, 98%", "trzy przecinek pięć kilometra, minus pięć stopni Celsjusza, dziewięćdziesiąt osiem procent")],
    "uk": [("3,5 км, 98%", "три кома п'ять кілометра, дев'яносто вісім відсотків")],
    "tr": [("%98, 3,5 km", "yüzde doksan sekiz, üç virgül beş kilometre")],
    "ko": [("98%, 3.5km", "구십팔 퍼센트, 삼 점 오 킬로미터")],
    "hi": [("98%, १२", "अट्ठानबे प्रतिशत, बारह")],
    "zh": [
        ("我有3只狗，花了$3.50，在2021年5月5日。", "我有三只狗，花了三点五零美元，在二零二一年五月五日。"),
        ("-5℃，98%，13800138000，10:30，1,234,567 😀。", "负五摄氏度，百分之九十八，幺三八零零幺三八零零零，十点三十分，一百二十三万四千五百六十七 嘿嘿。"),
        ("电话13800138000，5km", "电话幺三八零零幺三八零零零，五公里"),
    ],
    "ja": [("2021年5月5日に犬が3匹、98%", "二千二十一年五月五日に犬が三匹、九十八パーセント")],
}  # fmt: skip
CASES = [(language, *pair) for language, pairs in TABLE.items() for pair in pairs]


@pytest.mark.parametrize("language, written, spoken", CASES)
def test_table(language, written, spoken):
    normaliser = for_language(language)
    found = normaliser.normalise(written)
    assert (found.text, found.left_over) == (spoken, {})
    assert normaliser.normalise(spoken).text == spoken


LANGUAGES = "de fr es it pt nl ru pl uk sv tr ko ar hi el zh ja".split()
PIECES = "a ж 你 Dr. 0 5 05 1999 3,50 3.50 1.234 1,234 -5 98% 3,50€ $5 10:30 5.5.2021 2021-05-05 5. 1º 2e 5km ½ № 😀 . , ! ' « —".split()


@settings(max_examples=150, deadline=None)  # a language is loaded when it is first met
@given(st.sampled_from(LANGUAGES), st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from(["", " "]))
def test_no_digit_is_left_and_words_stay_as_they_are(language, pieces, between):
    once = for_language(language).normalise(between.join(pieces)).text
    assert not re.search(r"\d", once)
    assert for_language(language).normalise(once).text == once


@settings(max_examples=150, deadline=None)  # a language is loaded when it is first met
@given(st.sampled_from([*LANGUAGES, "xx"]), st.text())
def test_any_characters(language, text):
    for_language(language).normalise(text)


def test_names_of_languages():
    assert for_language("en-us") is not None and for_language("").language == for_language("en_GB").language == "en"
    assert for_language("nb").name == "rules for Norwegian (unicode-rbnf, Babel)"
    assert for_language("cmn").name == "rules for Chinese (WeText)"
    assert for_language("fr-fr").name == "rules for French (unicode-rbnf, Babel)"


def test_a_language_without_rules_has_its_characters_made_plain():
    found = for_language("xx").normalise("ﬁn 5 ５ it’s")
    assert (found.text, found.left_over) == ("fin 5 5 it's", {"5": 2})
    assert for_language("xx").name == "characters alone (there are no rules for xx)"


@pytest.mark.parametrize("language, package", [("de", "unicode_rbnf"), ("fr", "babel"), ("zh", "wetext")])
def test_without_the_extra_it_is_named(monkeypatch, language, package):
    monkeypatch.setitem(sys.modules, package, None)
    for_language.cache_clear()
    found = for_language(language)
    for_language.cache_clear()
    assert isinstance(found, characters_only.CharactersOnly)
    assert found.name == "characters alone (pip install 'vocolab[normalize]')"


def test_emoji_without_the_package(monkeypatch):
    monkeypatch.setattr(emoji, "package", lambda: None)
    assert for_language("en").normalise("ok 👍🏽😀").text == "ok thumbs up sign, grinning face"
    assert for_language("de").normalise("ok 👍").left_over == {"👍": 1}


def test_a_locale_without_rules_of_numbers():
    assert for_language("se").normalise("5").text  # it has some
    for language in ("mr", "zz", "x" * 300, "é"):
        assert for_language(language).normalise("5").left_over == {"5": 1}


def test_paragraphs_stay():
    assert for_language("en").normalise("1\r\n\r\n 2\n3").text == "one\n\ntwo three"
    assert for_language("en").normalise("1\n2").text == "one\ntwo"
