"""The texts of `synthesize` in words, and what of them the model cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vocolab.cli.progress import say
from vocolab.text.normalisation import foreign_script

if TYPE_CHECKING:
    from vocolab.pipelines import TTS
    from vocolab.pipelines.passages import Passage

_NAMED = 10  # symbols that a line counts one by one


def say_of(tts: TTS, read: Sequence[Passage], texts: Sequence[str], language: str | None) -> None:
    """Say by what the texts were put in words, where that changed any, and what of them the model cannot say."""
    left_over: Counter[str] = Counter()
    for passage in read:
        left_over += passage.left_over
    if any(" ".join(p.words.split()) != " ".join(text.split()) for p, text in zip(read, texts, strict=True)):
        say(f"text in words: {tts.reader.normaliser(language).name}")
    _say_unknown(tts, left_over, language)


def _say_unknown(tts: TTS, left_over: Mapping[str, int], language: str | None) -> None:
    """Name the symbols of the texts that the training never saw, and those that no rule could put in words."""
    base = tts.reader.normaliser(language).language
    for found, what in ((tts.symbols.left_out, "left out"), (tts.symbols.unknown, "spoken as <unk>")):
        if found:
            say(f"symbols the model never saw, {what}: {counts(found, base)}")
    known = {*tts.symbols.symbols, *tts.symbols.unknown, *tts.symbols.left_out}
    rest = Counter({char: n for char, n in left_over.items() if char.lower() not in known})
    if rest:
        say(f"characters that no rule reads: {counts(rest, base)}")


def counts(found: Mapping[str, int], language: str) -> str:
    """Symbols with their numbers, the commonest first; letters of a foreign script together, by the script's name."""
    scripts: dict[str, Counter[str]] = {}
    own: Counter[str] = Counter()
    for symbol, n in found.items():
        script = foreign_script(symbol[0], language)
        (scripts.setdefault(script, Counter()) if script else own)[symbol] += n
    parts = [f"{symbol!r} × {n}" for symbol, n in own.most_common(_NAMED)]
    if len(own) > _NAMED:
        parts.append(f"{len(own) - _NAMED} others × {sum(own.values()) - sum(n for _, n in own.most_common(_NAMED))}")
    for script, letters in scripts.items():
        shown = "".join(letter for letter, _ in letters.most_common(_NAMED))
        parts.append(f"{script} letters ({shown}{'…' * (len(letters) > _NAMED)}) × {sum(letters.values())}")
    return ", ".join(parts)
