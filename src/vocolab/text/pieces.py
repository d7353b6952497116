"""A text of any length as pieces that a model can say: cut where a reader pauses, each no longer than the model knows.

Paragraphs are always parted. Within one, pieces end with a sentence where they can, else with a clause, else with a
word; only a word that is longer than a piece is cut itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import sentencex

End = Literal["word", "clause", "sentence", "paragraph"]  # what a piece ends with, from the weakest to the strongest

PAUSES: dict[End, float] = {"word": 0.05, "clause": 0.2, "sentence": 0.4, "paragraph": 0.8}  # s

# What it costs to cut there. To compare: an empty piece costs 1, one of full length nothing.
COSTS: dict[End, float] = {"word": 0.6, "clause": 0.15, "sentence": 0.0, "paragraph": 0.0}

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
# A comma and its like, with the quotes that close after it, where a space follows (1,000 has none); a dash between
# spaces. Dashes and the marks of scripts that are written without spaces need no space.
_CLAUSE = re.compile(r"""(?:[,;:،؛…)\]]["'”’»)\]]*|\s-)\s+|[、，；：—–]["”’」』）]*\s*""")
_WORD = re.compile(r"\s+")

Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A stretch of a text that is said at once."""

    text: str  # with one space for each run of white space
    end: End


def pause_after(piece: Piece) -> float:
    """Seconds of silence between a piece and the next."""
    return PAUSES[piece.end]


def cut(text: str, longest: float, language: str = "", measure: Callable[[str], float] = len) -> list[Piece]:
    """The pieces of a text, in order. None is longer than `longest` by `measure`, which counts characters by default,
    unless by marks that belong to no word and are left beside one.

    Together they hold all of the text, except for what has no letter or digit and is a paragraph of its own, such as a
    line of asterisks between two scenes. So a text without any letter or digit has no pieces. `language` decides which
    full stops belong to abbreviations (default: English).
    """
    cutter = _Cutter(longest, measure, language)
    return [piece for paragraph in paragraphs(text) for piece in cutter.pieces(paragraph)]


def paragraphs(text: str) -> list[str]:
    """The paragraphs that have anything to say, with one space for each run of white space. Blank lines part them; in a
    text without blank lines, each line is a paragraph.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2029", "\n\n").strip()
    parts = _BLANK_LINES.split(text) if _BLANK_LINES.search(text) else text.split("\n")
    return [" ".join(part.split()) for part in parts if has_letters(part)]


def has_letters(text: str) -> bool:
    """Whether there is a letter or a digit, of any script."""
    return any(char.isalnum() for char in text)


@dataclass(frozen=True)
class _Atom:
    """A span of a paragraph that is not cut further."""

    span: Span  # with the white space that follows
    end: End
    size: float  # of the span
    bare: float  # of the span without that white space


@dataclass(frozen=True)
class _Cutter:
    """Cuts paragraphs."""

    longest: float
    measure: Callable[[str], float]
    language: str

    def pieces(self, text: str) -> list[Piece]:
        """The pieces of a paragraph."""
        atoms = _joined(text, self._atoms(text, (0, len(text)), "paragraph"))
        edges = [0, *_best_ends(atoms, self.longest)]
        found = []
        for first, end in pairwise(edges):
            last = atoms[end - 1]
            found.append(Piece(text[atoms[first].span[0] : last.span[1]].strip(), last.end))
        return found

    def _atoms(self, text: str, span: Span, end: End, level: int = 0) -> Iterator[_Atom]:
        """A span that ends with `end`, whole where it is short enough; else its sentences, where those are too long
        their clauses, then words, then runs of characters (levels 0 to 3).
        """
        part = text[span[0] : span[1]]
        bare = self.measure(part.rstrip())
        if bare <= self.longest or len(part) == 1:
            yield _Atom(span, end, bare + part[-1:].isspace(), bare)
            return
        ends, kind = self._divided(part, bare, level)
        edges = [span[0], *(span[0] + place for place in ends if place < len(part)), span[1]]
        for inside in pairwise(edges):
            yield from self._atoms(text, inside, end if inside[1] == span[1] else kind, min(level + 1, 3))

    def _divided(self, part: str, size: float, level: int) -> tuple[Iterable[int], End]:
        """Where the parts of a level end, and what they end with."""
        if level == 0:
            code = self.language.partition("-")[0].lower() or "en"
            return accumulate(len(sentence) for sentence in sentencex.segment(code, part)), "sentence"
        if level < 3:
            pattern = _CLAUSE if level == 1 else _WORD
            return (match.end() for match in pattern.finditer(part)), "clause" if level == 1 else "word"
        return _runs(part, max(1, int(len(part) * self.longest / size))), "word"


def _runs(word: str, length: int) -> Iterator[int]:
    """Where to cut a word into runs of at most `length` characters, letters and their combining marks together where
    these are not longer themselves.
    """
    place = length
    while place < len(word):
        end = place
        while end > place - length + 1 and unicodedata.category(word[end])[0] == "M":
            end -= 1
        yield end
        place = end + length


def _joined(text: str, atoms: Iterable[_Atom]) -> list[_Atom]:
    """The atoms, those without any letter or digit put to the one before, or after where none is before."""
    found: list[_Atom] = []
    for atom in atoms:
        alone = found and not (has_letters(_part(text, found[-1])) and has_letters(_part(text, atom)))
        if alone:
            before = found.pop()
            span = before.span[0], atom.span[1]
            atom = _Atom(span, atom.end, before.size + atom.size, before.size + atom.bare)
        found.append(atom)
    return found


def _part(text: str, atom: _Atom) -> str:
    return text[atom.span[0] : atom.span[1]]


def _best_ends(atoms: Sequence[_Atom], longest: float) -> list[int]:
    """How many atoms have been said at the end of each piece, where pieces of adjacent atoms cost least together: the
    cost of where each is cut, and the square of the share of `longest` that it leaves empty. So the pieces of a long
    sentence are about equally long.
    """
    before = [0.0, *accumulate(atom.size for atom in atoms)]
    best = [0.0]  # what the first n atoms cost
    begins = [0]  # where the last piece of the first n atoms begins
    for end, atom in enumerate(atoms, 1):
        costs = {}
        for first in range(end - 1, -1, -1):
            size = before[end - 1] - before[first] + atom.bare
            if size > longest and first < end - 1:
                break
            costs[first] = best[first] + COSTS[atom.end] + (1 - min(size / longest, 1)) ** 2
        begin = min(costs, key=lambda first: (costs[first], first))
        best.append(costs[begin])
        begins.append(begin)
    ends = [len(atoms)] if atoms else []
    while ends and begins[ends[-1]]:
        ends.append(begins[ends[-1]])
    return ends[::-1]
