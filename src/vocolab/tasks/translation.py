"""From the ids of the data to those of the model, in which a symbol keeps the id it was first trained with."""

from __future__ import annotations

from typing import Any

from torch import Tensor, tensor

from vocolab.data.batches import SpeechBatch
from vocolab.errors import UsageError
from vocolab.lm import Condition, LanguageModel, Split
from vocolab.tasks.base import field
from vocolab.text.symbols import SymbolMap


class Translation:
    """Translates ids of `data` to ids of `map`, which has all of `known` and behind it what only the data have."""

    def __init__(self, known: SymbolMap, data: SymbolMap):
        self.map = SymbolMap(_united(known.symbols, data.symbols), _united(known.languages, data.languages))
        self._symbols = _table(data.symbols, self.map.symbols)
        self._languages = _table(data.languages, self.map.languages)

    @classmethod
    def to_model(cls, card: dict[str, Any], data: SymbolMap, lm: LanguageModel) -> Translation:
        """From the ids of `data` to those of `lm`, as its card has them. Raises `UsageError` as `check` does."""
        return cls(SymbolMap(card["symbols"], card["languages"]), data).check(lm)

    def check(self, lm: LanguageModel) -> Translation:
        """Return self. Raises `UsageError` where the embedding tables of `lm` have too few rows for `map`."""
        languages = len(self.map.languages) if lm.languages else 0
        for count, rows, name in ((len(self.map), lm.symbols, "symbols"), (languages, lm.languages, "languages")):
            if count > rows:
                where = [f"--model.lm.{part}{name}" for part in (("ar.", "nar.") if isinstance(lm, Split) else ("",))]
                remedy = f"set {'it' if len(where) == 1 else 'both'} to {count} or more"
                raise UsageError(f"{count} {name}, rows for {rows}", " and ".join(where), remedy)
        return self

    def condition(self, batch: SpeechBatch, lm: LanguageModel) -> Condition:
        """What is said in a batch of the data and by whom, in the ids of `lm`."""
        language = self.languages(field(batch, "language")) if lm.languages else None
        text, prompts = self.symbols(field(batch, "text")), field(batch, "prompts")
        return Condition(text, field(batch, "text_lengths"), prompts, field(batch, "prompt_lengths"), language)

    def symbols(self, ids: Tensor) -> Tensor:
        return ids if self._symbols is None else self._symbols.to(ids.device)[ids]

    def languages(self, ids: Tensor) -> Tensor:
        return ids if self._languages is None else self._languages.to(ids.device)[ids]


def _united(known: list[str], more: list[str]) -> list[str]:
    return [*known, *(name for name in more if name not in set(known))]


def _table(given: list[str], ours: list[str]) -> Tensor | None:
    """(len(given),) the id in `ours` of each id in `given`; None where they are the same."""
    ids = {name: i for i, name in enumerate(ours)}
    table = [ids[name] for name in given]
    return None if table == list(range(len(given))) else tensor(table)
