"""What corpora share: finding audio files, naming them, reading their transcripts, holding some of them out."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from vocolab.audio.io import EXTENSIONS
from vocolab.data.corpora.base import Utterance
from vocolab.errors import UsageError
from vocolab.files import read_lines

KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")  # of an utterance; a name in a tar has room for 100 bytes
KEY_RULE = "keys are up to 90 letters, digits, - and _"
MISSING = "set --data.corpus.root to the folder that holds it, or --data.corpus.download true to fetch it"
# Formats that speech comes in and libsndfile does not read.
FOREIGN = tuple(".m4a .m4b .mp4 .aac .3gp .amr .wma .webm .mka .spx .ape .wv .tta .ra".split())


def audio_files(root: Path, extensions: Iterable[str] = EXTENSIONS) -> list[str]:
    """Paths of the audio files under `root`, relative to it, with forward slashes, sorted; without hidden ones."""
    wanted = _suffixes(extensions)
    return sorted(path for path in _files(root) if path.lower().endswith(wanted))


def foreign_files(root: Path, extensions: Iterable[str] = EXTENSIONS) -> list[str]:
    """Paths of the files under `root` in a format of `FOREIGN`, except where a readable copy lies beside it."""
    wanted = _suffixes(extensions)
    files = list(_files(root))
    read = {os.path.splitext(path)[0] for path in files if path.lower().endswith(wanted)}
    others = (path for path in files if path.lower().endswith(FOREIGN) and not path.lower().endswith(wanted))
    return sorted(path for path in others if os.path.splitext(path)[0] not in read)


def how_to_convert(foreign: Sequence[str]) -> str:
    """What the `foreign` files are, and the command that makes them readable: `3 .m4a, 1 .wma: convert …`."""
    count = Counter(PurePosixPath(path).suffix.lower() for path in foreign)
    kinds = ", ".join(f"{n:,} {suffix}" for suffix, n in count.most_common())
    target = os.path.splitext(foreign[0])[0] + ".flac"
    return f"{kinds}: convert each, for example: ffmpeg -i {shlex.quote(foreign[0])} {shlex.quote(target)}"


def _suffixes(extensions: Iterable[str]) -> tuple[str, ...]:
    return tuple("." + e.lower().lstrip(".") for e in extensions)


def _files(root: Path) -> Iterator[str]:
    """All files under `root`, relative to it, with forward slashes; without hidden ones."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        folders[:] = [f for f in folders if f[0] != "." and os.path.realpath(os.path.join(folder, f)) not in seen]
        relative = Path(folder).relative_to(root)
        yield from ((relative / f).as_posix() for f in files if f[0] != ".")


def clean_key(path: str) -> str:
    """A key made of a relative path alone: `a/b.wav` -> `a-b`. Where other characters get lost, a hash is added."""
    parts = PurePosixPath(path).with_suffix("").parts
    if all(re.fullmatch(r"\w+", part, re.ASCII) for part in parts) and len("-".join(parts)) <= 60:
        return "-".join(parts)
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', '-'.join(parts)).strip('-')[-60:]}-{digest(path)[:10]}".lstrip("-")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def in_order(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Sorted by key; where two share a key (`x.wav` beside `x.flac`), each gets a hash of its path."""
    utterances = list(utterances)
    count = Counter(u.key for u in utterances)
    unique = [
        u if count[u.key] == 1 else dataclasses.replace(u, key=f"{u.key}-{digest(u.source)[:10]}") for u in utterances
    ]
    return sorted(unique, key=lambda u: (u.key, u.source))


class Transcripts:
    """Texts beside audio files: `STEM.txt`, else a line `STEM text` in a `*.trans.txt` of the same folder."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._lines: dict[str, str] = {}

    def of(self, path: Path) -> str | None:
        own = path.with_suffix(".txt")
        if own.is_file():
            return whole_text(own)
        if path.parent != self._folder:  # files come sorted, so a folder's lines are read once
            self._folder, self._lines = path.parent, _lines(path.parent)
        return self._lines.get(path.stem)


def _lines(folder: Path) -> dict[str, str]:
    lines = {}
    for file in sorted(folder.glob("*.trans.txt")):
        for line in read_lines(file):
            if words := line.split():
                lines[words[0]] = " ".join(words[1:])
    return lines


def whole_text(path: Path) -> str:
    """All that a file of text holds, each run of white space as one space."""
    return " ".join(word for line in read_lines(path) for word in line.split())


def held_out(utterances: Sequence[Utterance], patterns: Sequence[str], option: str) -> set[str]:
    """Sources of the utterances whose key, source or stem matches one of `patterns` (shell style: `*-10-0003`).

    Raises `UsageError` for a pattern that matches nothing: a misspelt name must not end in training on it.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        names = ((u, (u.key, u.source, PurePosixPath(u.source).stem)) for u in utterances)
        # First compared letter by letter: a name may hold brackets, which a pattern takes for a choice of letters.
        matches = {u.source for u, own in names if pattern in own or any(fnmatch.fnmatchcase(n, pattern) for n in own)}
        if not matches:
            raise UsageError(f"{option}: no utterance matches {pattern!r}", "", "name a key or path, * for any letters")
        chosen |= matches
    return chosen


def split_off(
    utterances: Sequence[Utterance], val: float | Sequence[str], test: float | Sequence[str]
) -> dict[str, list[Utterance]]:
    """Divide into train, val and test: lists of patterns, or fractions chosen by the hash of the path.

    What both claim goes to test. A fraction above 0 holds out at least one utterance, but never all.
    """
    sources: dict[str, set[str]] = {"val": set(), "test": set()}
    for split, share in (("test", test), ("val", val)):
        if not isinstance(share, (int, float)):
            sources[split] = held_out(utterances, share, split)
            continue
        if not 0 <= share < 1:
            raise UsageError(
                f"{split}: {share} is no fraction", "", "give at least 0 and less than 1, or a list of names"
            )
        left = [u.source for u in utterances if u.source not in sources["test"]]
        count = min(max(1, round(share * len(utterances))), len(left) - 1) if share else 0
        sources[split] = set(sorted(left, key=digest)[: max(count, 0)])
    chosen: dict[str, list[Utterance]] = {"train": [], "val": [], "test": []}
    for u in utterances:
        chosen["test" if u.source in sources["test"] else "val" if u.source in sources["val"] else "train"].append(u)
    return {split: in_order(us) for split, us in chosen.items() if us}
