"""A corpus listed in one file; the speech may lie anywhere."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.listing import KEY, KEY_RULE, clean_key, in_order, split_off
from vocolab.errors import UsageError, VocolabError
from vocolab.files import decode_lines

COLUMNS = ("path", "speaker", "text", "language", "key", "split")
REQUIRED = ("path", "speaker")
SPLITS = ("train", "val", "test")
VAL, TEST = 0.05, 0.0  # the shares held out where the manifest names no splits


class Manifest(Corpus):
    """The utterances listed in the file `path`: JSON lines, or TSV with a header, values as they stand (no quoting).

    A row names the `path` of an audio file and its `speaker`, and may name `text`, `language`, `key` and `split`.
    Audio paths are absolute, or relative to `root`, which is the manifest's folder by default. A missing `key` is
    made from the path. Where rows name no `split` (train, val or test), `val` (0.05) and `test` (0) are fractions
    or lists of keys, paths or patterns.
    """

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        val: float | Sequence[str] | None = None,
        test: float | Sequence[str] | None = None,
    ):
        self.path, self.root = path, root
        self.val = val if val is None or isinstance(val, (int, float)) else list(val)
        self.test = test if test is None or isinstance(test, (int, float)) else list(test)

    def splits(self) -> dict[str, list[Utterance]]:
        """The utterances by split: as the rows say, else as `val` and `test` say.

        Raises `VocolabError` naming the line at fault where a row is wrong or its audio file is missing.
        """
        rows = list(_rows(self._file(), self._bytes()))
        if not rows:
            raise VocolabError("manifest without rows", self._file(), "give it one row an utterance")
        _check_all_or_none(rows, "key", "give each row a key, or none")
        _check_all_or_none(rows, "split", "give each row train, val or test, or none a split")
        root = self._root().absolute()
        utterances = [_utterance(root, row) for row in rows]
        _check_once(rows, [u.source for u in utterances], "path", "list each file once")
        _check_once(rows, [row.values.get("key") for row in rows], "key", "give each row its own key")
        _check_there(rows, utterances, root)
        if "split" not in rows[0].values:
            val, test = VAL if self.val is None else self.val, TEST if self.test is None else self.test
            return split_off(utterances, val, test)
        for option, value in (("val", self.val), ("test", self.test)):
            if value is not None:
                remedy = f"set --data.corpus.{option} null, or remove the splits"
                raise UsageError(f"{option} is {value!r}, but the rows name their splits", self._file(), remedy)
        named = {s: [u for row, u in zip(rows, utterances, strict=True) if row.values["split"] == s] for s in SPLITS}
        return {split: in_order(us) for split, us in named.items() if us}

    def files(self) -> None:
        """The spec holds a hash of the manifest."""

    def spec(self) -> dict[str, Any]:
        """The spec holds a hash of the manifest in place of its path: where it lies does not change the utterances.

        Raises `VocolabError` where it is missing.
        """
        spec = super().spec()
        del spec["init_args"]["path"]
        spec["init_args"]["root"] = str(self._root().resolve())
        return spec | {"manifest": hashlib.sha256(self._bytes()).hexdigest()}

    def _file(self) -> Path:
        return Path(self.path).expanduser()

    def _root(self) -> Path:
        return self._file().parent if self.root is None else Path(self.root).expanduser()

    def _bytes(self) -> bytes:
        file, remedy = self._file(), "set --data.corpus.path to a manifest: JSON lines or TSV"
        if not file.exists():
            raise VocolabError("no such manifest", file, remedy)
        try:
            return file.read_bytes()
        except OSError as error:  # a folder, say
            raise VocolabError(f"cannot read the manifest ({error.strerror})", file, remedy) from error


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a manifest: its values by column, without the empty ones."""

    where: str  # FILE:LINE
    values: dict[str, str]


def _rows(file: Path, data: bytes) -> Iterator[_Row]:
    """The rows of a manifest, each checked by itself. It is JSON if its first line begins with a bracket."""
    numbered = enumerate(decode_lines(data, file), 1)
    lines = [(f"{file}:{n}", line) for n, line in numbered if line.strip()]
    if not lines:
        return
    read = _json if lines[0][1].lstrip().startswith(("{", "[")) else _tsv
    for where, row in read(lines):
        values = {column: value.strip() for column, value in row.items() if value.strip()}
        for column in REQUIRED:
            if column not in values:
                raise VocolabError(f"row without {column}", where, f"every row names its {' and '.join(REQUIRED)}")
        if not KEY.fullmatch(values.get("key", "none")):
            raise VocolabError(f"key {values['key']!r}", where, KEY_RULE)
        if values.get("split", "train") not in SPLITS:
            raise VocolabError(f"unknown split {values['split']!r}", where, f"choose from {' '.join(SPLITS)}")
        yield _Row(where, values)


def _tsv(lines: list[tuple[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    where, header = lines[0]
    columns = [column.strip() for column in header.split("\t")]
    if not set(columns) & set(COLUMNS):  # no header, say, or commas
        remedy = f"begin with a line that names the columns ({' '.join(COLUMNS)}), separated by tabs"
        raise VocolabError("neither JSON nor a header of TSV", where, remedy)
    _check_columns(columns, where)
    if missing := [column for column in REQUIRED if column not in columns]:
        remedy = f"the first line names the columns, {' and '.join(REQUIRED)} among them"
        raise VocolabError(f"no column {missing[0]!r}", where, remedy)
    if len(set(columns)) < len(columns):
        raise VocolabError("a column is named twice", where, "name each once")
    for where, line in lines[1:]:
        values = line.split("\t")
        if len(values) != len(columns):
            what = f"{len(values)} values, expected {len(columns)}"
            raise VocolabError(what, where, "give a value for each column, separated by tabs; it may be empty")
        yield where, dict(zip(columns, values, strict=True))


def _json(lines: list[tuple[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    remedy = 'give one object a line: {"path": "a.wav", "speaker": "ann"}'
    for where, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            place = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise VocolabError(f"invalid JSON ({getattr(error, 'msg', error)}{place})", where, remedy) from error
        if not isinstance(row, dict):
            raise VocolabError("not a JSON object", where, remedy)
        _check_columns(row, where)
        yield where, {column: _string(column, value, where) for column, value in row.items()}


def _string(column: str, value: Any, where: str) -> str:
    """A JSON value as text: null is empty, and a whole number is taken as a name."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise VocolabError(f"{column} is {json.dumps(value)}", where, "give a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise VocolabError(
            f"{column} holds half a surrogate pair (\\u{ord(value[error.start]):x})", where, "write the whole character"
        ) from error
    return value


def _check_columns(columns: Iterable[str], where: str) -> None:
    """Refuse an unknown column: with `txt` for `text`, a model would silently train without texts."""
    for column in columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column.lower(), COLUMNS, 1)
            known = f"columns are {' '.join(COLUMNS)}: rename or remove it"
            remedy = f"did you mean {near[0]}? {known}" if near else known
            raise VocolabError(f"unknown column {column!r}", where, remedy)


def _check_all_or_none(rows: list[_Row], column: str, remedy: str) -> None:
    without = [row for row in rows if column not in row.values]
    if without and len(without) < len(rows):
        raise VocolabError(f"row without {column}, while others have one", without[0].where, remedy)


def _check_once(rows: list[_Row], names: list[str | None], column: str, remedy: str) -> None:
    seen: dict[str, _Row] = {}
    for row, name in zip(rows, names, strict=True):
        if name is not None and (first := seen.setdefault(name, row)) is not row:
            line = first.where.rpartition(":")[2]
            raise VocolabError(f"{column} {name!r} stands in line {line} too", row.where, remedy)


def _check_there(rows: list[_Row], utterances: list[Utterance], root: Path) -> None:
    with ThreadPoolExecutor(16) as threads:  # many at once: each waits for the disk
        there = list(threads.map(os.path.isfile, [u.path for u in utterances]))
    if all(there):
        return
    first, count = there.index(False), there.count(False)
    more = f" and {count - 1} more" if count > 1 else ""
    remedy = "correct the path or remove the row"
    if not Path(rows[first].values["path"]).is_absolute():
        remedy = f"paths are relative to {root}: {remedy}, or set --data.corpus.root"
    raise VocolabError(f"no such audio file {str(utterances[first].path)!r}{more}", rows[first].where, remedy)


def _utterance(root: Path, row: _Row) -> Utterance:
    values = row.values
    path = root / values["path"]
    source = Path(os.path.normpath(path.relative_to(root) if path.is_relative_to(root) else path)).as_posix()
    text = " ".join(values["text"].split()) if "text" in values else None
    key = values.get("key") or clean_key(source)
    return Utterance(key, path, source, values["speaker"], text=text, language=values.get("language", ""))
