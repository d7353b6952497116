"""Texts as a model reads them: in words, in a language it knows, as the ids of its symbols."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from vocolab.errors import UsageError, VocolabError
from vocolab.text import SymbolMap, Text
from vocolab.text.normalisation import Normalised, Normaliser, for_language

MAX_CHARACTERS = 1000  # of what is said in one piece: over a minute of speech, far more than any model has seen


@dataclass(frozen=True)
class Reader:
    """`text` and `symbols`: those of the training. `language_matters`: whether what a text becomes for the model
    depends on its language. `prompt_kind`: where the prompts of the training were cut from, where that is known.
    """

    text: Text
    symbols: SymbolMap
    language_matters: bool = False
    prompt_kind: str | None = None

    @property
    def needs_ref_text(self) -> bool:
        """Whether the model must know what the references say: its prompts were the beginnings of the utterances, whose
        whole texts it was given.
        """
        return self.prompt_kind == "prefix"

    def read(
        self,
        texts: Sequence[str],
        language: str | None = None,
        names: Sequence[str] | None = None,
        ref_text: str | None = None,
        normalize: bool = True,
    ) -> list[list[int]]:
        """The ids of the symbols of each text, put in words by `normalise` unless told not to, and read as in training.
        A model that must know what the references say reads `ref_text` and the text as one. `names`: what errors call
        the texts, by default "text 1" and so on.

        Punctuation that the model never saw is left out and counted in `symbols.left_out`; other symbols that it never
        saw become `<unk>` and are counted in `symbols.unknown`. Raises `VocolabError` where it knows no letter at all.
        """
        self.check_ref_text(ref_text)
        _, language = self.language(language)
        if normalize and ref_text is not None:
            ref_text = self.normalise(ref_text, language).text
        found = []
        for number, text in enumerate(texts, 1):
            name = names[number - 1] if names else f"text {number}"
            _check_length(text, name)
            if normalize:
                text = self.normalise(text, language).text
                _check_length(text, name)
            found.append(self._ids(text, language, name, ref_text))
        return found

    def _ids(self, text: str, language: str, name: str, ref_text: str | None) -> list[int]:
        whole_text = text if ref_text is None else f"{ref_text} {text}"
        symbols = self.text.symbols(whole_text, language)
        own = symbols if ref_text is None else self.text.symbols(text, language)
        if not self.symbols.can_say(own):
            what = f"the model knows no symbol of the text ({''.join(own[:20])!r})"
            raise VocolabError(what, name, "give text in the script and language of its training")
        return self.symbols.ids(symbols)

    def symbols_of(self, text: str, language: str | None = None) -> list[str]:
        """The symbols of a text, as in training; also of those that the model never saw."""
        return self.text.symbols(text, self.language(language)[1])

    def length_of(self, text: str, language: str | None = None) -> int:
        """How many symbols of a text the model reads; punctuation that it never saw is none of them."""
        return self.symbols.count(self.symbols_of(text, language))

    def can_say(self, text: str, language: str | None = None) -> bool:
        """Whether the model knows any symbol of a text."""
        return self.symbols.can_say(self.symbols_of(text, language))

    def normalise(self, text: str, language: str | None = None) -> Normalised:
        """A text as people write it in words that the model can say, with what no rule could read
        (`vocolab.text.normalisation`). A text of words alone comes back as it is.
        """
        return self.normaliser(language).normalise(text)

    def normaliser(self, language: str | None = None) -> Normaliser:
        """What `normalise` uses. Where the model was told no language, it is the phonemiser's, else English."""
        _, language = self.language(language)
        return for_language(language or self.text.default_language, numbers=not self.text.reads_numbers)

    def check_ref_text(self, text: str | None) -> None:
        """Raises `VocolabError` where the text of the references is missing, too long or not wanted."""
        if self.needs_ref_text and not (text and text.strip()):
            what = "the model goes on from what the references say (it was trained with prompt: prefix)"
            raise UsageError(what, "--ref-text", "give their text, word for word")
        if text is not None and not self.needs_ref_text:
            kind = f" (it was trained with prompt: {self.prompt_kind})" if self.prompt_kind else ""
            raise UsageError(f"the model hears references without their text{kind}", "--ref-text", "leave it out")
        if text is not None and len(text) > MAX_CHARACTERS:
            what = f"text of {len(text):,} characters, at most {MAX_CHARACTERS:,} are taken"
            raise VocolabError(what, "--ref-text", "give a shorter reference and its text")

    def language(self, name: str | None) -> tuple[int, str]:
        """Id and name of a language; an empty name stands for training texts that had none. Raises `UsageError` for a
        language the model was not trained on, and for None where it was trained on several and they matter.
        """
        known = [language for language in self.symbols.languages if language]
        if name is None and len(known) > 1 and self.language_matters:
            raise UsageError("the model speaks several languages", "--language", f"give one of {', '.join(known)}")
        if name is None:
            name = known[0] if known else ""
        if known and name not in self.symbols.languages:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"the model was trained on {', '.join(known)}"
            raise UsageError(f"unknown language {name!r}", "--language", remedy)
        return (self.symbols.languages.index(name) if known else 0), name


def _check_length(text: str, name: str) -> None:
    """Raises `VocolabError` for a text that is empty or too long."""
    if not text.strip():
        raise VocolabError("empty text", name, "give something to say")
    if len(text) > MAX_CHARACTERS:
        what = f"text of {len(text):,} characters, at most {MAX_CHARACTERS:,} are spoken in one piece"
        raise VocolabError(what, name, "give less at once")
