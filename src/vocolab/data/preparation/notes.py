"""Lines that tell the user what a preparation left out, and what has changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vocolab.data.corpora import Corpus
from vocolab.data.corpora.listing import digest, how_to_convert
from vocolab.data.shards.manifest import NAME
from vocolab.errors import VocolabError

COMPARED = 1_000_000  # files at most: listing them anew takes seconds, and every training does it


def listing(sources: Sequence[str]) -> dict[str, Any]:
    """The number and a hash of the names of files, by which the manifest knows them again. No file is opened."""
    return {"files": len(sources), "sha256": digest("\n".join(sorted(sources)))}


def change(corpus: Corpus, then: dict[str, Any] | None, where: Path) -> str:
    """A line if the files of a corpus are not those that `then`, a `listing`, describes; "" if they are, or if that is
    not known.
    """
    if then is None or then["files"] > COMPARED:
        return ""
    try:
        files = corpus.files()
    except VocolabError:  # the corpus is not here, and finished shards do not need it
        return ""
    if files is None or (now := listing(files)) == then:
        return ""
    counts = f"{now['files']:,} files, then {then['files']:,}" if now["files"] != then["files"] else "other names"
    remedy = "choose another --data.shards to take the change in"
    return f"{where}: the corpus has changed since its files were listed for these shards ({counts}): {remedy}"


def foreign(corpus: Corpus) -> str:
    """A line about files of formats that are not read; "" if there are none."""
    found = corpus.foreign()
    return f"passed over {len(found):,} files in formats that are not read, {how_to_convert(found)}" if found else ""


def lower(rates: Mapping[int, int], rate: int) -> str:
    """A line about files whose sample rate is below `rate`, that of the shards; "" if there are none. `rates`: how many
    files have which.
    """
    found = {theirs: count for theirs, count in rates.items() if theirs < rate}
    if not found:
        return ""
    of = f"{sum(found.values()):,} of {sum(rates.values()):,} files"
    return f"{of} have less than {rate:,} Hz, as {min(found):,}: resampled, with nothing above {min(found) // 2:,} Hz"


def skipped(manifest: dict[str, Any], shards: Path) -> str:
    """A line about the files that could not be used, counted by reason; "" if there are none."""
    entries = manifest["skipped"]
    if not entries:
        return ""
    count = Counter(entry["reason"].partition(" (")[0] for entry in entries)
    reasons = ", ".join(f"{n:,} × {reason}" for reason, n in count.most_common())
    return f"skipped {len(entries):,} files: {reasons}; {shards / NAME} lists them under skipped"


def unmatched(manifest: dict[str, Any]) -> str:
    """A line about the utterances that were not prematched; "" if there are none, or nothing was to be prematched."""
    found = manifest.get("unmatched", {"utterances": 0})
    if not found["utterances"]:
        return ""
    speakers = " ".join(found["speakers"][:5]) + (" …" if len(found["speakers"]) > 5 else "")
    return f"{found['utterances']:,} utterances keep plain features, with too little to match them with: {speakers}"
