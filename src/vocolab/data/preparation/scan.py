"""Look over a corpus: which utterances can be used, how long they are, and how they are divided into units."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocolab import audio
from vocolab.data.corpora import Utterance
from vocolab.data.corpora.listing import KEY, KEY_RULE
from vocolab.data.preparation import notes
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work, write_json
from vocolab.errors import VocolabError

# Seconds of speech in a unit at most, unless one utterance is longer. A worker that is killed loses one unit.
UNIT_SECONDS = 240.0
MIN_SECONDS = 400 / 16000  # the receptive field of WavLM's first frame


@dataclass(frozen=True, slots=True)
class Item:
    """An utterance of a split whose header could be read."""

    split: str
    utterance: Utterance
    seconds: float


@dataclass(frozen=True)
class Unit:
    """Utterances of one split and one pool that are always encoded together, in batches of their own."""

    number: int
    split: str
    pool: str  # speaker, or speaker and chapter
    items: list[int]  # positions in `Scan.items`
    seconds: float


@dataclass
class Scan:
    items: list[Item]  # by split, speaker and key
    skipped: list[dict[str, str]]  # {"path", "reason"}
    units: list[Unit]
    listing: dict[str, Any] | None = None  # of all files of the corpus, as `notes.listing` makes it

    @functools.cached_property
    def pools(self) -> dict[str, list[Unit]]:
        """The units of each pool, all splits together."""
        pools = defaultdict(list)
        for unit in self.units:
            pools[unit.pool].append(unit)
        return pools


def scan(preparation: Preparation) -> dict[str, Any]:
    """Read every header, divide the work; returns what `save` writes. Raises `VocolabError` where nothing is left."""
    splits = preparation.corpus.splits()
    for split, utterances in splits.items():
        _check_keys(split, utterances)
    found = [(split, u) for split in splits for u in sorted(splits[split], key=lambda u: (u.speaker, u.key))]
    items, skipped, rates = [], [], []
    header_of = functools.partial(_header, spoken=preparation.text is not None)
    with ThreadPoolExecutor(16) as threads:  # reading headers waits for the disk, not for the processor
        for (split, u), info in zip(found, threads.map(header_of, found), strict=True):
            if isinstance(info, str):
                skipped.append({"path": u.source, "reason": info})
            else:
                items.append([split, info.seconds, dataclasses.asdict(u) | {"path": str(Path(u.path).absolute())}])
                rates.append(info.sample_rate)
    kept = {split for split, _, _ in items}
    lost = [split for split, _ in found if split not in kept]
    if lost or not items:
        raise nothing_left(len(found), lost if kept else [], skipped)
    listing = notes.listing([u.source for _, u in found])
    units = list(_units(items, preparation))
    return {"items": items, "skipped": skipped, "units": units, "listing": listing, "rates": dict(Counter(rates))}


def nothing_left(files: int, lost: Sequence[str], skipped: Sequence[dict[str, str]]) -> VocolabError:
    """The error for a split of which no file can be used: shards without it would look finished.

    lost: the name of the split, once for each of its files; empty where none of the corpus' `files` can be used.
    """
    which = f"{len(lost)} files of split {lost[0]!r}" if lost else f"{files} files"
    first = f"{skipped[0]['path']} ({skipped[0]['reason']})" if skipped else "the corpus is empty"
    return VocolabError(f"none of {which} can be used", first, "check --data.corpus")


def save(work: Work, found: dict[str, Any]) -> None:
    with work.finish("scan", "all") as folder:
        write_json(folder / "item.json", found)


def load(work: Work) -> Scan:
    found = work.read("scan", "all")
    items = [Item(s, Utterance(**u | {"path": Path(u["path"])}), seconds) for s, seconds, u in found["items"]]
    units = [Unit(n, *unit) for n, unit in enumerate(found["units"])]
    return Scan(items, found["skipped"], units, found.get("listing"))


def _header(found: tuple[str, Utterance], spoken: bool) -> audio.AudioInfo | str:
    """Length and rate, or the reason why the file cannot be used. `spoken`: without a text it cannot be used either."""
    if spoken and not (found[1].text or "").strip():
        return "no text"
    try:
        info = audio.info(found[1].path)
    except VocolabError as error:
        return error.what
    if info.samples == 0:
        return "empty"
    return info if info.seconds >= MIN_SECONDS else too_short(info.seconds)


def too_short(seconds: float) -> str:
    return f"too short ({1000 * seconds:.0f} ms, at least {1000 * MIN_SECONDS:.0f} are needed)"


def _check_keys(split: str, utterances: list[Utterance]) -> None:
    seen: set[str] = set()
    for u in utterances:
        if not KEY.fullmatch(u.key):
            raise VocolabError(f"key {u.key!r} of {split}", u.path, KEY_RULE)
        if u.key in seen:
            raise VocolabError(f"key {u.key!r} twice in {split}", u.path, "give each utterance of a split its own key")
        seen.add(u.key)


def _units(items: list[list], preparation: Preparation) -> Iterator[tuple[str, str, list[int], float]]:
    """Cut each pool's utterances, in the order of their keys, into groups of limited length: the fields of `Unit`."""
    by_chapter = preparation.prematch is not None and preparation.prematch.pool == "chapter"
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for position, (split, _, about) in enumerate(items):
        groups[f"{about['speaker']}/{about['chapter']}" if by_chapter else about["speaker"], split].append(position)
    for (pool, split), members in sorted(groups.items()):
        group: list[int] = []
        seconds = 0.0
        for position in members:
            length = items[position][1]
            if group and seconds + length > UNIT_SECONDS:
                yield split, pool, group, seconds
                group, seconds = [], 0.0
            group.append(position)
            seconds += length
        yield split, pool, group, seconds
