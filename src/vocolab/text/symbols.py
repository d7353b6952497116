"""The symbol map: which id a symbol of text has. It is built from the data and travels with every checkpoint."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

UNKNOWN, BEGIN, END, SPACE = "<unk>", "<s>", "</s>", " "
APOSTROPHES = ("'", "’", "ʼ")  # punctuation that belongs to a word
SPECIAL = (UNKNOWN, BEGIN, END, SPACE)  # ids 0 to 3


class SymbolMap:
    """Symbols and languages by id."""

    def __init__(self, symbols: Sequence[str] = SPECIAL, languages: Sequence[str] = ()):
        """symbols: by id, beginning with `SPECIAL`; languages: by id."""
        self.symbols, self.languages = list(symbols), list(languages)
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.unknown: Counter[str] = Counter()  # what `ids` has turned into `<unk>` so far
        self.left_out: Counter[str] = Counter()  # the punctuation that `ids` has left out so far

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def of(cls, texts: Iterable[Iterable[str]], languages: Iterable[str] = ()) -> SymbolMap:
        """The map of all symbols that occur, in alphabetical order after the special ones."""
        found = {symbol for text in texts for symbol in text} - set(SPECIAL)
        return cls([*SPECIAL, *sorted(found)], sorted(set(languages)))

    def ids(self, symbols: Iterable[str]) -> list[int]:
        """`<s>`, the symbols, `</s>` as ids.

        A symbol without an id is left out where it is punctuation, and counted in `left_out`: a model that never saw a
        full stop would make noise of it. Where it parted words (`well-known`), a space does. Any other becomes `<unk>`,
        and is counted in `unknown`.
        """
        kept, left_out = self._parted(list(symbols))
        self.left_out.update(left_out)
        self.unknown.update(symbol for symbol in kept if symbol not in self._ids)
        return [self._ids[BEGIN], *(self._ids.get(symbol, 0) for symbol in kept), self._ids[END]]

    def count(self, symbols: Iterable[str]) -> int:
        """How many of the symbols `ids` gives an id to: all but the punctuation that it leaves out."""
        return len(self._parted(list(symbols))[0])

    def _parted(self, symbols: list[str]) -> tuple[list[str], list[str]]:
        """The symbols that are read, and the punctuation that is left out."""
        left_out = [symbol for symbol in symbols if symbol not in self._ids and is_punctuation(symbol)]
        if not left_out:
            return symbols, []
        parted = (SPACE if s in left_out and s not in APOSTROPHES else s for s in symbols)
        return single_spaces(s for s in parted if s not in left_out), left_out

    def can_say(self, symbols: Iterable[str]) -> bool:
        """Whether any letter or digit of a text is known; in a text without one, whether any symbol is."""
        symbols = [symbol for symbol in symbols if symbol != SPACE]
        letters = [symbol for symbol in symbols if _is_letter(symbol)]
        return any(symbol in self._ids for symbol in letters or symbols)


def is_punctuation(symbol: str) -> bool:
    return unicodedata.category(symbol[0]).startswith("P")


def single_spaces(symbols: Iterable[str]) -> list[str]:
    """Without spaces at the ends and after another space."""
    kept: list[str] = []
    for symbol in symbols:
        if symbol != SPACE or (kept and kept[-1] != SPACE):
            kept.append(symbol)
    return kept[:-1] if kept and kept[-1] == SPACE else kept


def _is_letter(symbol: str) -> bool:
    """Letters and digits; not what only modifies a letter, such as the marks of stress and length."""
    category = unicodedata.category(symbol[0])
    return category[0] in "LN" and category != "Lm"
