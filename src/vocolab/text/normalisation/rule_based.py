"""Normalisation by rules, with the words of a language."""

from __future__ import annotations

from vocolab.text.normalisation import emoji, rules
from vocolab.text.normalisation.base import Normaliser
from vocolab.text.normalisation.characters import plain, tidy
from vocolab.text.normalisation.words import Words


class RuleBased(Normaliser):
    """`numbers`: whether plain numbers become words too, rather than those alone that their surroundings explain."""

    def __init__(self, words: Words, numbers: bool = True):
        self.words, self.language, self.name = words, words.language, words.name
        self.rules = rules.CONTEXT + (rules.NUMBERS if numbers else ()) + rules.SIGNS

    def paragraph(self, text: str) -> str:
        text = plain(emoji.spoken(text, self.words.language))
        for rule in self.rules:
            text = rule(text, self.words)
        return tidy(text)
