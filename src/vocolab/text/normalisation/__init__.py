"""Text as people write it, in words."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any

from vocolab.errors import VocolabError
from vocolab.text.normalisation import wetext
from vocolab.text.normalisation.base import Normalised, Normaliser
from vocolab.text.normalisation.characters_only import CharactersOnly
from vocolab.text.normalisation.cldr import CLDR
from vocolab.text.normalisation.english import English
from vocolab.text.normalisation.rule_based import RuleBased
from vocolab.text.normalisation.scripts import foreign_script
from vocolab.text.normalisation.wetext import WeText

__all__ = ["Normalised", "Normaliser", "for_language", "foreign_script", "versions"]

VERSION = 2  # of the rules: a change of what they make of a text


def versions() -> dict[str, Any]:
    """What decides the words: the version of the rules and those of the packages, None where one is missing."""
    found: dict[str, Any] = {"rules": VERSION}
    for package in ("babel", "emoji", "unicode-rbnf", "wetext"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


@functools.cache
def for_language(language: str = "", numbers: bool = True) -> Normaliser:
    """The normaliser of a language as corpora and espeak name it (`en`, `en-us`, `cmn`; empty: English).

    `numbers`: whether plain numbers become words too. A phonemiser that reads them needs the rest alone.
    """
    base = (language or "en").lower().replace("_", "-").partition("-")[0]
    base = {"cmn": "zh", "nb": "no"}.get(base, base)
    if base == "en":
        return RuleBased(English(), numbers)
    try:
        return WeText(base) if base in wetext.LANGUAGES else RuleBased(CLDR(base), numbers)
    except LookupError:
        return CharactersOnly(base, f"there are no rules for {language}")
    except VocolabError as error:
        return CharactersOnly(base, error.remedy)
