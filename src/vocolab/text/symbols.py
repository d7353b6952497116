"""The symbol map: which id a symbol of text has. It is built from the data and travels with every checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

UNKNOWN, BEGIN, END, SPACE = "<unk>", "<s>", "</s>", " "
SPECIAL = (UNKNOWN, BEGIN, END, SPACE)  # ids 0 to 3


class SymbolMap:
    """Symbols and languages by id."""

    def __init__(self, symbols: Sequence[str] = SPECIAL, languages: Sequence[str] = ()):
        """symbols: by id, beginning with `SPECIAL`; languages: by id."""
        self.symbols, self.languages = list(symbols), list(languages)
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.unknown: Counter[str] = Counter()  # what `ids` had no id for

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def of(cls, texts: Iterable[Iterable[str]], languages: Iterable[str] = ()) -> SymbolMap:
        """The map of all symbols that occur, in alphabetical order after the special ones."""
        found = {symbol for text in texts for symbol in text} - set(SPECIAL)
        return cls([*SPECIAL, *sorted(found)], sorted(set(languages)))

    def ids(self, symbols: Iterable[str]) -> list[int]:
        """`<s>`, the symbols, `</s>` as ids. A symbol without one becomes `<unk>` and is counted in `unknown`."""
        out = [self._ids[BEGIN]]
        for symbol in symbols:
            if symbol not in self._ids:
                self.unknown[symbol] += 1
            out.append(self._ids.get(symbol, 0))
        return [*out, self._ids[END]]
