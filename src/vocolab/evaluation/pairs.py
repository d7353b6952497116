"""Speech that is there already, beside recordings of the same words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vocolab import audio
from vocolab.data.corpora.listing import Transcripts
from vocolab.errors import UsageError, VocolabError
from vocolab.evaluation.sample import Made, Sample, Subject


def folder_pairs(generated: Path, reference: Path, common: bool = False) -> Subject:
    """The files of `generated`, each with the file of `reference` that has the same stem, wherever in the folder.

    A file without a partner is refused, unless only those that both have in `common` are wanted. The texts are those
    that lie beside the references, as in a corpus of the kind `Folder`; folders in `reference` name voices.
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
    samples = [_sample(stem, ours[stem], theirs[stem], texts[theirs[stem]], reference) for stem in both]
    return _subject(samples, [ours[s] for s in both], {"generated": str(generated), "reference": str(reference)})


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if folder.exists() and not folder.is_dir():
        raise UsageError("not a folder", folder, "give a folder of speech")
    for path in audio.find(folder):
        if path.stem in found:
            raise VocolabError(f"{found[path.stem]} and {path} have the same stem", folder, "rename one of them")
        found[path.stem] = path
    return found


def _sample(key: str, ours: Path, theirs: Path, text: str | None, root: Path) -> Sample:
    folder = theirs.parent.relative_to(root).as_posix()
    voice = None if folder == "." else folder  # one folder may hold many voices
    return Sample(key, partial(_read, ours), path=ours, reference=theirs, text=text, voice=voice)


def _read(path: Path) -> Made:
    wav, rate = audio.read(path)
    return Made(wav, rate, note="" if wav.any() else "silent")


def _subject(samples: Sequence[Sample], generated: Sequence[Path], identity: dict[str, str]) -> Subject:
    references = [s.reference for s in samples if s.reference is not None]
    rates = sorted({audio.info(path).sample_rate for path in [*generated, *references]})
    rate = min((audio.info(path).sample_rate for path in references), default=rates[0])
    mixed = f"sample rates are mixed ({', '.join(map(str, rates))} Hz): all is compared at {rate} Hz"
    voices: dict[str, list[Path]] = {}
    for sample in samples:
        if sample.voice is not None and sample.reference is not None:
            voices.setdefault(sample.voice, []).append(sample.reference)
    files = {"files": _digest([*generated, *references])}
    return Subject(samples, rate, identity | files, voices, [mixed] if len(rates) > 1 else [])


def _digest(paths: Sequence[Path]) -> str:
    """Of the files' names, sizes and times of change: a file that is made anew is another."""
    lines = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
