"""What shards hold, in numbers: lengths of utterances, speech of each speaker, files that were skipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vocolab.data.shards.index import Index
from vocolab.data.shards.manifest import read_manifest


@dataclass
class SplitStatistics:
    """Of one split."""

    seconds: np.ndarray  # (N,) of each utterance
    speakers: np.ndarray  # (S,) seconds of each speaker


@dataclass
class Statistics:
    """Of all splits, and what was skipped when the shards were made."""

    splits: dict[str, SplitStatistics]
    skipped: dict[str, int]  # files by reason, the most frequent first

    def table(self) -> list[list[str]]:
        """A header, then a row a split."""
        rows = [["split", "utterances", "hours", "speakers", "shortest", "median", "longest utterance (s)"]]
        for name, split in self.splits.items():
            low, middle, high = np.quantile(split.seconds, [0, 0.5, 1]) if len(split.seconds) else (0, 0, 0)
            count, hours = f"{len(split.seconds):,}", f"{split.seconds.sum() / 3600:.3g}"
            rows.append([name, count, hours, str(len(split.speakers)), *(f"{s:.1f}" for s in (low, middle, high))])
        return rows

    def skipped_lines(self, most: int = 5) -> list[str]:
        """How many files were skipped for which reason."""
        lines = [f"{count:,} files skipped: {reason}" for reason, count in self.skipped.items()]
        return [*lines[:most], *([f"and {len(lines) - most} more reasons"] if len(lines) > most else [])]


def statistics(shards: Path) -> Statistics:
    """Of finished shards, from their index and manifest. Raises `VocolabError` where these cannot be read."""
    manifest = read_manifest(shards)
    reasons = Counter(entry["reason"] for entry in manifest.get("skipped", []))
    return Statistics({name: _split(shards, name) for name in manifest["splits"]}, dict(reasons.most_common()))


def _split(shards: Path, name: str) -> SplitStatistics:
    index = Index.open(shards, name)
    seconds = index.rows["samples"] / index.sample_rate
    spoken = np.bincount(index.rows["speaker"], weights=seconds, minlength=len(index.speakers))
    return SplitStatistics(np.asarray(seconds), spoken[spoken > 0])
