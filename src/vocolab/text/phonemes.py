"""Phonemes by espeak-ng, without any system package: `espeakng-loader` brings the library."""

from __future__ import annotations

import difflib
import functools
import logging
import re
import unicodedata
from typing import Any

from vocolab.errors import VocolabError
from vocolab.extras import install
from vocolab.text.base import Text
from vocolab.text.symbols import single_spaces

# Punctuation that is kept as it is. A mark between two digits belongs to the number (3.5, 10:30, 1,000), which espeak
# reads aloud.
_MARKS = re.compile(r"""([;!?¡¿—–…"«»“”„(){}\[\]。，、！？；：「」]|(?<!\d)[.,:]|[.,:](?!\d))""")
_TIE = "\u0361"  # joins two letters into one sound: t͡s


class Phonemes(Text):
    """The IPA in which espeak-ng reads a text, with stress marks and the text's punctuation.

    A symbol is a letter together with its combining marks (`ɔ̃`) and with the dot that espeak writes after some (`s.` in
    Mandarin). Stress (`ˈ ˌ`), length (`ː`), other modifier letters (`ʲ`), tones and punctuation are symbols of their
    own. White space of any kind and length, line ends too, is one `" "`.

    default_language: for texts that come without a language. Languages are espeak's; `en` is `en-us`, `fr` is `fr-fr`.
    Needs the extra `phonemes`.
    """

    reads_numbers = True

    def __init__(self, default_language: str = "en-us"):
        self.default_language = default_language
        self._backends: dict[str, Any] = {}  # by espeak's language: making one takes longer than using it

    def __getstate__(self) -> dict[str, Any]:
        """Without the backends: each process loads its own library."""
        return {"default_language": self.default_language, "_backends": {}}

    def symbols(self, text: str, language: str = "") -> list[str]:
        backend = self._backend(self.resolve(language))
        pieces = []
        for piece in _MARKS.split(text.replace("’", "'")):
            if _MARKS.fullmatch(piece):
                pieces.append([piece])
                continue
            # Spaces around a piece are kept as the text has them: espeak adds and drops some.
            spoken = _clusters(backend.phonemize([piece], strip=True)[0]) if piece.strip() else []
            pieces += [[" "] * piece[:1].isspace(), spoken, [" "] * piece[-1:].isspace()]
        symbols = single_spaces([symbol for piece in pieces for symbol in piece])
        if not symbols:
            raise VocolabError("no text", repr(text[:40]), "give at least one word")
        return symbols

    def resolve(self, language: str = "") -> str:
        """Espeak's name of a language. Raises `VocolabError` for one it does not know, naming near ones."""
        known, asked = _espeak_languages(), (language or self.default_language).lower().replace("_", "-")
        base, _, region = asked.partition("-")
        candidates = ["en-us" if asked == "en" else asked, f"{asked}-{asked}", *([base] if base == region else [])]
        found = next((name for name in candidates if name in known), None)
        if found is not None:
            return found
        near = [name for name in known if name.split("-")[0] == base]
        near = near or difflib.get_close_matches(asked, known, n=4, cutoff=0.3)
        remedy = f"did you mean {', '.join(near[:6])}? espeak has {len(known)} languages"
        raise VocolabError(f"unknown language {language or self.default_language!r}", "Phonemes", remedy)

    def fingerprint(self) -> dict[str, Any]:
        """Espeak's version."""
        return {"espeak": ".".join(map(str, _espeak().version()))}

    def _backend(self, language: str) -> Any:
        if language not in self._backends:
            self._backends[language] = _espeak()(
                language,
                with_stress=True,
                language_switch="remove-flags",
                punctuation_marks=re.compile(
                    "(?!)"
                ),  # matches nothing: `symbols` has split off all but the marks within numbers
                logger=_quiet(),
            )
        return self._backends[language]


@functools.cache
def _espeak() -> Any:
    """phonemizer's espeak backend, told where the library is."""
    remedy = f"{install('espeakng_loader')}, or use Characters"
    try:
        import espeakng_loader
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise VocolabError(f"phonemes need {error.name}", "Phonemes", remedy) from error
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    try:
        EspeakBackend.version()
    except (RuntimeError, OSError) as error:
        raise VocolabError(f"espeak does not load ({error})", "Phonemes", remedy) from error
    return EspeakBackend


@functools.cache
def _espeak_languages() -> list[str]:
    return sorted(_espeak().supported_languages())


def _quiet() -> logging.Logger:
    """A logger that says nothing: phonemizer warns of every foreign word."""
    logger = logging.getLogger("vocolab.text.phonemes.espeak")
    logger.setLevel(logging.CRITICAL)
    return logger


def _clusters(ipa: str) -> list[str]:
    """Espeak's IPA as symbols."""
    symbols: list[str] = []
    for char in unicodedata.normalize("NFC", ipa):
        category = unicodedata.category(char)
        joined = symbols and symbols[-1] != " " and (category in ("Mn", "Me") or char == "." or symbols[-1][-1] == _TIE)
        if joined:
            symbols[-1] += char
        elif category != "Cf":  # zero-width marks say nothing
            symbols.append(" " if char.isspace() else char)
    return symbols
