"""Speech that is there already, beside recordings of the same words."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vocolab import audio
from vocolab.data.corpora.listing import Transcripts
from vocolab.errors import UsageError, VocolabError
from vocolab.evaluation.sample import Made, Sample, Subject
from vocolab.files import local_path, read_lines

COLUMNS = ("generated", "reference", "text", "speaker", "language")
REQUIRED = COLUMNS[:2]
LINE = "write a generated and a reference file with a tab between them, then a tab and the text if it is known"
HEADED = "give a value for each column that the first line names, separated by tabs; text and what follows may be empty"


def folder_pairs(generated: Path, reference: Path, common: bool = False, language: str = "") -> Subject:
    """The files of `generated`, each with the file of `reference` that has the same stem, wherever in the folder.

    A file without a partner is refused, unless only those that both have in `common` are wanted. The texts are those
    that lie beside the references, as in a corpus of the kind `Folder`; folders in `reference` name voices. `language`:
    of all of it, where it is known.
    """
    ours, theirs = _by_stem(generated), _by_stem(reference)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        remedy = f"name files alike in both, as in {next(iter(theirs))}.wav"
        raise VocolabError("no pairs: no two files have the same stem", f"{generated}, {reference}", remedy)
    for one, other, folder in ((ours, theirs, generated), (theirs, ours, reference)):
        alone = sorted(one.keys() - other.keys())
        if alone and not common:
            what = f"{len(alone)} of {len(one)} files have no partner ({', '.join(alone[:3])}{' …' * (len(alone) > 3)})"
            raise VocolabError(what, folder, "add what is missing, or pass --common")
    transcripts = Transcripts()
    texts = {path: transcripts.of(path) for path in sorted(theirs[stem] for stem in both)}
    samples = [_sample(stem, ours[stem], theirs[stem], texts[theirs[stem]], reference, language) for stem in both]
    identity = {"generated": str(generated), "reference": str(reference), "language": language}
    return _subject(samples, [ours[s] for s in both], identity)


@dataclass(frozen=True)
class _Pair:
    """A line of a list."""

    where: str  # FILE:LINE
    values: dict[str, str]  # by column, without the empty ones
    generated: Path
    reference: Path


def listed_pairs(path: Path, language: str = "") -> Subject:
    """The pairs of a list: a generated and a reference file a line, and the text if it is known, with tabs between; or
    what the columns are that its first line names, `generated` and `reference` and any of `text`, `speaker` and
    `language`. Files are relative to the list's folder. `language`: where no line says it.

    A pair is named by the stem of its generated file, or by its whole path where two have the same stem. A text that is
    not given is looked for beside the reference. Raises `VocolabError` naming the line at fault.
    """
    lines = [(f"{path}:{number}", line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    columns = _columns(*lines[0]) if lines else None
    if columns:
        del lines[0]
    if not lines:
        raise VocolabError("no pairs: a list without lines", path, LINE)
    pairs = [_pair(where, line, columns, path.parent) for where, line in lines]
    stems = Counter(pair.generated.stem for pair in pairs)
    transcripts = Transcripts()
    samples: dict[str, Sample] = {}
    for pair in pairs:
        ours, theirs, values = pair.generated, pair.reference, pair.values
        key = ours.stem if stems[ours.stem] == 1 else _key(values["generated"])
        if key in samples:
            raise VocolabError(f"a second {key!r}", pair.where, "list each generated file once")
        samples[key] = Sample(
            key,
            partial(_read, ours),
            path=ours,
            reference=theirs,
            text=values.get("text") or transcripts.of(theirs),
            language=values.get("language", language),
            voice=values.get("speaker"),
        )
    return _subject([*samples.values()], [p.generated for p in pairs], {"pairs": str(path), "language": language})


def _columns(where: str, line: str) -> list[str] | None:
    """The columns that the first line of a list names; None where it is a pair already."""
    columns = [column.strip() for column in line.split("\t")]
    if not set(REQUIRED) <= set(columns):
        return None
    for column in columns:
        if column not in COLUMNS or columns.count(column) > 1:
            raise VocolabError(f"column {column!r}", where, f"name some of {' '.join(COLUMNS)}, each once")
    return columns


def _pair(where: str, line: str, columns: list[str] | None, folder: Path) -> _Pair:
    """The two files of a line, and what else it says."""
    fields = [field.strip() for field in line.split("\t")]
    found = dict(zip(columns or COLUMNS, fields, strict=False))
    many = len(fields) == len(columns) if columns else len(fields) in (2, 3)
    if not many or not all(found[name] for name in REQUIRED):
        what = f"not a pair ({len(fields)} fields between tabs)"
        raise VocolabError(what, where, HEADED if columns else LINE)
    files = [folder / local_path(found[name]) for name in REQUIRED]
    for file in files:
        if not file.is_file():
            raise VocolabError(f"no such file {str(file)!r}", where, "correct the path: it is relative to the list")
    return _Pair(where, {name: value for name, value in found.items() if value}, *files)


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(name.strip()).with_suffix("").as_posix()).strip("-.")


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if folder.exists() and not folder.is_dir():
        raise UsageError("not a folder", folder, "give a folder of speech")
    for path in audio.find(folder):
        if path.stem in found:
            raise VocolabError(f"{found[path.stem]} and {path} have the same stem", folder, "rename one of them")
        found[path.stem] = path
    return found


def _sample(key: str, ours: Path, theirs: Path, text: str | None, root: Path, language: str) -> Sample:
    folder = theirs.parent.relative_to(root).as_posix()
    voice = None if folder == "." else folder  # one folder may hold many voices
    make = partial(_read, ours)
    return Sample(key, make, path=ours, reference=theirs, text=text, language=language, voice=voice)


def _read(path: Path) -> Made:
    wav, rate = audio.read(path)
    return Made(wav, rate, note="" if wav.any() else "silent")


def _subject(samples: Sequence[Sample], generated: Sequence[Path], identity: dict[str, str]) -> Subject:
    references = [s.reference for s in samples if s.reference is not None]
    theirs = _rates(references)
    rates = sorted(theirs | _rates(generated))
    rate = min(theirs or rates, default=16000)
    mixed = f"sample rates are mixed ({', '.join(map(str, rates))} Hz): all is compared at {rate} Hz"
    voices: dict[str, list[Path]] = {}
    for sample in samples:
        if sample.voice is not None and sample.reference is not None:
            voices.setdefault(sample.voice, []).append(sample.reference)
    files = {"files": _digest([*generated, *references])}
    return Subject(samples, rate, identity | files, voices, [mixed] if len(rates) > 1 else [])


def _rates(paths: Sequence[Path]) -> set[int]:
    """The sample rates of files, without those that cannot be read: they are named when their turn comes."""
    found = set()
    for path in paths:
        with contextlib.suppress(VocolabError):
            found.add(audio.info(path).sample_rate)
    return found


def _digest(paths: Sequence[Path]) -> str:
    """Of the files' names, sizes and times of change: a file that is made anew is another."""
    lines = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
