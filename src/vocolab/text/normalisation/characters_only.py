"""Normalisation of a language for which there are no rules, or not those packages that they need."""

from __future__ import annotations

from vocolab.text.normalisation import emoji
from vocolab.text.normalisation.base import Normaliser
from vocolab.text.normalisation.characters import plain


class CharactersOnly(Normaliser):
    """Characters are made plain and emoji named; numbers and signs are left over."""

    def __init__(self, language: str, why: str):
        self.language, self.name = language, f"characters alone ({why})"

    def paragraph(self, text: str) -> str:
        return plain(emoji.spoken(text, self.language))
